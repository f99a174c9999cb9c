-- A call that waits for its job is listed for a while, and so long workers make previews of the job.
--
-- KEYS: the tenant's calls by when each is forgotten, the mark of a job of which previews are wanted
-- ARGV: job, seconds of the list, seconds of the mark

local calls, watched = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
redis.call('ZADD', calls, now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', calls, '-inf', now)
redis.call('EXPIRE', calls, ARGV[2])
redis.call('SET', watched, 1, 'EX', ARGV[3])
