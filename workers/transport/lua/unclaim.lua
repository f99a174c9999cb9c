-- Give up a claim on parts of a step whose responses may be lost, unless the job is past the request.
-- KEYS: step token, claims
-- ARGV: step token of the request, positions of the parts

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[2], unpack(ARGV, 2))
