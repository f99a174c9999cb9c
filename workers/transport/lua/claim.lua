-- Claim a part of a step: only of the job's current request, and only if nobody else has claimed it.
-- A call that is repeated because its reply was lost is answered as the first one: the claim names the call.
-- KEYS: step token, request, claims, lease of the claimant, served sign of the ControlNet, its queue
-- ARGV: step token of the queued step, position of the ControlNet, claim (CLAIMANT:CALL), ttl in s, lease in ms,
--       ms for which the served sign stands, the queued step if it has not left the queue, or ''
-- Returns the request and how many steps wait in the queue, or nothing.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
if redis.call('HSETNX', KEYS[3], ARGV[2], ARGV[3]) == 0 and redis.call('HGET', KEYS[3], ARGV[2]) ~= ARGV[3] then
  return false
end
redis.call('EXPIRE', KEYS[3], ARGV[4])
if ARGV[7] ~= '' then redis.call('LREM', KEYS[6], 1, ARGV[7]) end
redis.call('SET', KEYS[4], 1, 'PX', ARGV[5])
redis.call('SET', KEYS[5], 1, 'PX', ARGV[6])
return {redis.call('GET', KEYS[2]), redis.call('LLEN', KEYS[6])}
