-- Read embeddings, and keep them from expiring.
-- KEYS: the entry, the index of all entries by their expiry, hash of their sizes
-- ARGV: name of the entry, ttl in s
-- Returns the frame, or nothing.

local frame = redis.call('GET', KEYS[1])
if not frame then return false end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], 'XX', redis.call('TIME')[1] + ARGV[2], ARGV[1])
for i = 2, 3 do redis.call('EXPIRE', KEYS[i], 2 * ARGV[2]) end
return frame
