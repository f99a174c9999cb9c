-- Set or remove a job's current step request: only parts of the current request are computed.
-- KEYS: step token, request, claims
-- ARGV: 'set', ordinal of the attempt, step token, ttl in s, request,
--       claimant of the asking worker, positions of the parts that it computes itself
--   or: 'remove', ordinal of the attempt
-- A step token is ORDINAL:ATTEMPT:STEP:RETRY. An attempt that has lost its job changes nothing of its successor's.
-- Returns 1, or 0 if a later attempt has the job.

local current = redis.call('GET', KEYS[1])
if current and tonumber(string.match(current, '^%d+')) > tonumber(ARGV[2]) then return 0 end
redis.call('DEL', unpack(KEYS))
if ARGV[1] == 'set' then
  redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
  redis.call('SET', KEYS[2], ARGV[5], 'EX', ARGV[4])
  for i = 7, #ARGV do redis.call('HSET', KEYS[3], ARGV[i], ARGV[6]) end
  redis.call('EXPIRE', KEYS[3], ARGV[4])
end
return 1
