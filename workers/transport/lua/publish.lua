-- Answers to a step, unless the job is at another step by now: then nobody would take them.
-- KEYS: step_token, answers   ARGV: how the step's turns begin, ttl in s, answers

local current = redis.call('GET', KEYS[1])
if not current or string.sub(current, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('RPUSH', KEYS[2], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
