-- Give up the claim of a call that has failed: the server may have made it, and then nobody computes the part.
-- KEYS: claims
-- ARGV: position of the ControlNet, claim (CLAIMANT:CALL)

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
