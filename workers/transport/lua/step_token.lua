-- Set or remove a job's current step request: only parts of the current request are computed.
-- KEYS: step token, request, claims, then the queue of each part that others may compute
-- ARGV: 'set', ordinal of the attempt, step token, ttl in s, request, a queued step for each of these queues,
--       claimant of the asking worker, positions of the parts that it computes itself
--   or: 'remove', ordinal of the attempt
-- A step token is ORDINAL:ATTEMPT:STEP:RETRY, and no two requests have the same one: a second call with it repeats one
-- whose reply was lost, and changes nothing, as parts of the step may be claimed by now.
-- An attempt that has lost its job changes nothing of its successor's.
-- Returns 1, or 0 if a later attempt has the job.

local current = redis.call('GET', KEYS[1])
if current and tonumber(string.match(current, '^%d+')) > tonumber(ARGV[2]) then return 0 end
if ARGV[1] == 'set' and current == ARGV[3] then return 1 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
if ARGV[1] == 'set' then
  local token, ttl, request = ARGV[3], ARGV[4], ARGV[5]
  redis.call('SET', KEYS[1], token, 'EX', ttl)
  redis.call('SET', KEYS[2], request, 'EX', ttl)
  local claimant = #KEYS + 3
  for i = claimant + 1, #ARGV do redis.call('HSET', KEYS[3], ARGV[i], ARGV[claimant]) end
  redis.call('EXPIRE', KEYS[3], ttl)
  for i = 4, #KEYS do
    redis.call('RPUSH', KEYS[i], ARGV[i + 2])
    redis.call('EXPIRE', KEYS[i], ttl)
  end
end
return 1
