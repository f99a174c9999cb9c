-- A call that waits for its job is listed for a while, and so long workers make previews of the job.
--
-- KEYS: the tenant's calls by when each is forgotten, the mark of a job of which previews are wanted, its events
-- ARGV: job, seconds of the list, seconds of the mark
--
-- Returns the id of the job's first event: who waits for its end need not read that one.

local calls, watched, events = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
redis.call('ZADD', calls, now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', calls, '-inf', now)
redis.call('EXPIRE', calls, ARGV[2])
redis.call('SET', watched, 1, 'EX', ARGV[3])

local first = redis.pcall('XRANGE', events, '-', '+', 'COUNT', 1)[1]
if first and first[2][2] ~= 'done' then return first[1] end  -- of all others the end has been removed
return '0'
