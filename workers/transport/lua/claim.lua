-- Take a part of a step: only of a job's current step_token, and only if nobody else has it.
-- KEYS: step_token, step, claims, lease of the worker, sign that the ControlNet is served, queue of the ControlNet
-- ARGV: step_token, position of the ControlNet, worker, ttl in s, lease in ms, how long the sign stands in ms
-- Returns the step and how many tickets wait behind it, or nothing.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
if redis.call('HSETNX', KEYS[3], ARGV[2], ARGV[3]) == 0 then return false end
redis.call('EXPIRE', KEYS[3], ARGV[4])
redis.call('SET', KEYS[4], 1, 'PX', ARGV[5])
redis.call('SET', KEYS[5], 1, 'PX', ARGV[6])
return {redis.call('GET', KEYS[2]), redis.call('LLEN', KEYS[6])}
