-- The checkpoint of a job at the residual server: a hash of its frame and of the attempt that may write it.
--
-- KEYS: the checkpoint
-- ARGV: verb, ordinal of the attempt, ttl ms, then the verb's own
--
-- An attempt that lost the job writes nothing: its successor has set a higher ordinal.

local key = KEYS[1]
local verb, ordinal, ttl_ms = unpack(ARGV, 1, 3)

local function is_lost()
  local holder = tonumber(redis.call('HGET', key, 'ordinal') or 0)
  return holder > tonumber(ordinal)
end

if verb == 'put' then
  -- ARGV: frame
  if is_lost() then return 0 end
  redis.call('HSET', key, 'ordinal', ordinal, 'frame', ARGV[4])
  redis.call('PEXPIRE', key, ttl_ms)
  return 1
end

if verb == 'take' then
  -- A successor reads what there is, and becomes the one that may write.
  if is_lost() then return false end
  redis.call('HSET', key, 'ordinal', ordinal)
  redis.call('PEXPIRE', key, ttl_ms)
  return redis.call('HGET', key, 'frame')
end

if verb == 'end' then
  -- No attempt of this ordinal, or of a lower one, writes any more.
  if is_lost() then return 0 end
  redis.call('HDEL', key, 'frame')
  redis.call('HSET', key, 'ordinal', ordinal + 1)
  redis.call('PEXPIRE', key, ttl_ms)
  return 1
end

return redis.error_reply('unknown verb ' .. verb)
