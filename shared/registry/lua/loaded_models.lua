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
    call('ZREMRANGEBYSCORE', loaded, 0, now)
    if ARGV[3 + i] == '1' then
      call('ZADD', loaded, now + ARGV[3], worker)
      if redis.call('PTTL', loaded) < ttl_ms then redis.call('PEXPIRE', loaded, ttl_ms) end
    else
      call('ZREM', loaded, worker)
    end
  end
  return redis.status_reply('OK')
end

-- Of the next job of a queue: its tenant, when it was accepted, and when it was released.
local function read_next(queue, job_prefix)
  local message = call('LINDEX', queue, -1)
  if not message then return nil end
  local job_id = message:match('"id":%s*"(%x+)"')
  local found = job_id and redis.pcall('HMGET', job_prefix .. job_id, 'tenant', 'created_at', 'released_at') or {}
  return {tenant = found[1] or 'local', created_at = found[2], released_at = found[3]}
end

-- Whether all of these jobs are of one tenant. Then the oldest was accepted first; of several tenants one may
-- have thousands that wait, and which were all accepted before another one's: then the time counts for which
-- their turn has come.
local function is_one_tenant(jobs)
  local tenant
  for _, job in pairs(jobs) do
    if tenant and tenant ~= job.tenant then return false end
    tenant = job.tenant
  end
  return true
end

-- Infinite if the message is none of ours: it is taken first, and dropped.
local function waited_s(job, is_fair)
  local since = tonumber(is_fair and job.released_at or job.created_at or nil)
  return since and string.format('%.3f', math.max(now - since, 0)) or 'inf'
end

if command == 'read_queues' then
  -- KEYS: for each model its common queue and the sorted set of workers that have loaded it. ARGV: a worker,
  -- how the keys of jobs begin. Returns for each model how long its next job has waited, '' if none waits,
  -- and 1 if another worker than this one has loaded it, else 0.
  local jobs, found = {}, {}
  for i = 1, #KEYS, 2 do jobs[i] = read_next(KEYS[i], ARGV[3]) end
  local is_fair = not is_one_tenant(jobs)
  for i = 1, #KEYS, 2 do
    found[#found + 1] = jobs[i] and waited_s(jobs[i], is_fair) or ''
    local elsewhere = 0
    for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[i + 1], now, '+inf', 'LIMIT', 0, 2)) do
      if name ~= worker then elsewhere = 1 end
    end
    found[#found + 1] = elsewhere
  end
  return found
end

return redis.error_reply('unknown command ' .. command)
