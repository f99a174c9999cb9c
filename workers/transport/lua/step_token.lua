-- Whose step_token it is: only requests of a job's current step_token are computed.
-- KEYS: step_token, step, claims   ARGV: verb, ordinal of the attempt, then take: step_token, ttl in s, step; drop: nothing
-- A step_token is ordinal:attempt:step:send; a worker that lost its job cannot take it from its successor.

local current = redis.call('GET', KEYS[1])
if current and tonumber(string.match(current, '^%d+')) > tonumber(ARGV[2]) then return 0 end
redis.call('DEL', unpack(KEYS))
if ARGV[1] == 'take' then
  redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
  redis.call('SET', KEYS[2], ARGV[5], 'EX', ARGV[4])
end
return 1
