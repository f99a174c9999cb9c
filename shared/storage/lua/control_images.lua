-- When each control image was used last, and which are being deleted. Every change is atomic.
--
-- KEYS: control images by their last use, those that are being deleted by when that began
-- ARGV: verb, then the verb's own

local used, deleting = KEYS[1], KEYS[2]
local verb = ARGV[1]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6

if verb == 'use' then
  -- ARGV: name
  if redis.call('ZSCORE', deleting, ARGV[2]) then return 0 end
  redis.call('ZADD', used, now, ARGV[2])
  return 1
end

if verb == 'add' then
  -- ARGV: name. Returns by when it is used, to discard it; '' if somebody has used it before.
  if redis.call('ZSCORE', deleting, ARGV[2]) then return 0 end
  local was_used = redis.call('ZSCORE', used, ARGV[2])
  redis.call('ZADD', used, now, ARGV[2])
  return was_used and '' or redis.call('ZSCORE', used, ARGV[2])
end

if verb == 'discard' then
  -- ARGV: name, when it was added ... Takes those that nobody has used since.
  local names = {}
  for i = 2, #ARGV, 2 do
    if redis.call('ZSCORE', used, ARGV[i]) == ARGV[i + 1] then
      redis.call('ZREM', used, ARGV[i])
      redis.call('ZADD', deleting, now, ARGV[i])
      names[#names + 1] = ARGV[i]
    end
  end
  return names
end

if verb == 'note' then
  -- ARGV: names
  for i = 2, #ARGV do
    if not redis.call('ZSCORE', deleting, ARGV[i]) then redis.call('ZADD', used, 'NX', now, ARGV[i]) end
  end
  return 0
end

if verb == 'take' then
  -- ARGV: ttl s, limit, for how long at most what is taken is being deleted
  local names = redis.call('ZRANGEBYSCORE', used, 0, now - ARGV[2], 'LIMIT', 0, ARGV[3])
  -- Of somebody who died while deleting; an image that is there all the same is noted again.
  redis.call('ZREMRANGEBYSCORE', deleting, 0, now - ARGV[4])
  for _, name in ipairs(names) do
    redis.call('ZREM', used, name)
    redis.call('ZADD', deleting, now, name)
  end
  return names
end

if verb == 'deleted' then
  -- ARGV: names
  redis.call('ZREM', deleting, unpack(ARGV, 2))
  return 0
end

return redis.error_reply('unknown verb ' .. verb)
