-- Which workers have which base models loaded, and how long the oldest jobs of these models have waited.
--
-- The jobs' own keys are derived from messages: the script needs a single server, not a cluster.

local command, worker = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6

if command == 'register' then
  -- KEYS: for each model that the worker serves, the sorted set of workers that have loaded it, by when their
  -- registration expires. ARGV: the worker, the registration's lifetime in seconds, then for each model 1 if
  -- the worker has loaded it, else 0.
  local ttl_ms = math.ceil(ARGV[3] * 1000)
  for i, loaded in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', loaded, 0, now)
    if ARGV[3 + i] == '1' then
      redis.call('ZADD', loaded, now + ARGV[3], worker)
      if redis.call('PTTL', loaded) < ttl_ms then redis.call('PEXPIRE', loaded, ttl_ms) end
    else
      redis.call('ZREM', loaded, worker)
    end
  end
  return redis.status_reply('OK')
end

-- Seconds since a job was accepted; infinite if the message is none of ours: it is taken first, and dropped.
local function waited_s(message, job_prefix)
  local job_id = message:match('"id":%s*"(%x+)"')
  local created_at = job_id and redis.call('HGET', job_prefix .. job_id, 'created_at')
  return created_at and string.format('%.3f', math.max(now - created_at, 0)) or 'inf'
end

if command == 'read_queues' then
  -- KEYS: for each model its common queue and the sorted set of workers that have loaded it. ARGV: a worker,
  -- how the keys of jobs begin. Returns for each model how long its oldest job has waited, '' if none waits,
  -- and 1 if another worker than this one has loaded it, else 0.
  local found = {}
  for i = 1, #KEYS, 2 do
    local message = redis.call('LINDEX', KEYS[i], -1)
    found[#found + 1] = message and waited_s(message, ARGV[3]) or ''
    local elsewhere = 0
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i + 1], now, '+inf', 'LIMIT', 0, 2)) do
      if name ~= worker then elsewhere = 1 end
    end
    found[#found + 1] = elsewhere
  end
  return found
end

return redis.error_reply('unknown command ' .. command)
