-- Store embeddings within a bound in bytes: those that expire first, which were not used for longest, make room.
-- KEYS: the entry, the index of all entries by their expiry, hash of their sizes ('' is the sum)
-- ARGV: name of the entry, ttl in s, frame, bound in bytes, prefix of entries
-- Returns 1, or 0 if the frame alone is larger than the bound.

local now, size, bound = redis.call('TIME')[1] + 0, #ARGV[3], tonumber(ARGV[4])

local function forget(name)
  redis.call('ZREM', KEYS[2], name)
  local freed = redis.call('HGET', KEYS[3], name)
  if freed then
    redis.call('HDEL', KEYS[3], name)
    redis.call('HINCRBY', KEYS[3], '', -freed)
  end
end

if size > bound then return 0 end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do forget(name) end
forget(ARGV[1])
while tonumber(redis.call('HGET', KEYS[3], '') or 0) + size > bound do
  local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not first then redis.call('DEL', KEYS[3]) break end
  redis.call('DEL', ARGV[5] .. first)
  forget(first)
end
redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], size)
redis.call('HINCRBY', KEYS[3], '', size)
for i = 2, 3 do redis.call('EXPIRE', KEYS[i], 2 * ARGV[2]) end
return 1
