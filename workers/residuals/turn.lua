-- Whose turn it is: only requests of a job's current turn are computed.
-- KEYS: turn   ARGV: verb, ordinal of the attempt, then take: turn, ttl in s; drop: nothing
-- A turn is ordinal:attempt:step:send; a worker that lost its job cannot take it from its successor.

local current = redis.call('GET', KEYS[1])
if current and tonumber(string.match(current, '^%d+')) > tonumber(ARGV[2]) then return 0 end
if ARGV[1] == 'take' then
  redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
else
  redis.call('DEL', KEYS[1])
end
return 1
