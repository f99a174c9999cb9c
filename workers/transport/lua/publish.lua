-- Publish responses to a step, unless the job is past it: then nobody would read them.
-- KEYS: step token, responses, then payloads that were to be stored before
-- ARGV: prefix of the step's tokens, ttl in s, responses
-- Returns 1 if they were published, 0 if the job is past the step, -1 if a payload was not stored.

local current = redis.call('GET', KEYS[1])
if not current or string.sub(current, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
if #KEYS > 2 and redis.call('EXISTS', unpack(KEYS, 3)) < #KEYS - 2 then return -1 end
redis.call('RPUSH', KEYS[2], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
