-- The state machine of a job. Every change of state goes through here, so it is atomic.
--
-- KEYS: job hash, event stream, lease, jobs by time, unsent jobs; create: idempotency key
-- ARGV: verb, job id, now (s since the epoch), then the verb's own
-- (The sets by status are named from the one by time: this needs one server, not a cluster.)
--
--   queued -> running -> succeeded | failed | cancelled
--   queued -> cancelled | failed       running -> queued (another attempt)

local job, events, lease, all, unsent = unpack(KEYS)
local verb, id, now = ARGV[1], ARGV[2], ARGV[3]

local function emit(kind, data)
  redis.call('XADD', events, 'MAXLEN', '~', 4000, '*', 'type', kind, 'data', data)
end

local function expire(ttl)
  redis.call('EXPIRE', job, ttl)
  redis.call('EXPIRE', events, ttl)
end

local function move(status)
  local before = redis.call('HGET', job, 'status')
  local created = redis.call('HGET', job, 'created_at')
  if before then redis.call('ZREM', all .. ':' .. before, id) end
  redis.call('ZADD', all .. ':' .. status, created, id)
  redis.call('HSET', job, 'status', status)
  emit('status', cjson.encode({status = status, at = tonumber(now)}))
end

local function finish(status, ttl)
  redis.call('HSET', job, 'finished_at', now)
  redis.call('DEL', lease)
  redis.call('ZREM', unsent, id)
  move(status)
  emit('done', cjson.encode({status = status, at = tonumber(now)}))
  expire(ttl)
end

-- Another attempt may draw it; a job that somebody cancelled meanwhile is over.
local function queue_again(ttl)
  redis.call('DEL', lease)
  redis.call('HDEL', job, 'attempt', 'worker', 'started_at', 'step', 'total')
  if redis.call('HGET', job, 'cancel') then
    finish('cancelled', ttl)
    return 'cancelled'
  end
  redis.call('ZADD', unsent, now, id)
  move('queued')
  return 'queued'
end

if verb == 'create' then
  -- ARGV: ttl, digest of the request, then field value ...
  local ttl, digest, idempotency = ARGV[4], ARGV[5], KEYS[6]
  if idempotency then
    local first = redis.call('HGET', idempotency, 'job')
    if first and redis.call('EXISTS', (job:gsub(id, first, 1))) == 1 then
      return {first, redis.call('HGET', idempotency, 'digest')}
    end
    redis.call('HSET', idempotency, 'job', id, 'digest', digest)
    redis.call('EXPIRE', idempotency, ttl)
  end
  redis.call('HSET', job, unpack(ARGV, 6))
  redis.call('ZADD', all, now, id)
  redis.call('ZADD', unsent, now, id)
  move('queued')
  expire(10 * ttl)  -- a job that still waits must outlive those that have ended
  for _, set in ipairs({'', ':queued', ':running', ':succeeded', ':failed', ':cancelled'}) do
    redis.call('ZREMRANGEBYSCORE', all .. set, 0, tonumber(now) - 11 * tonumber(ttl))
  end
  return {id, digest}
end

local status = redis.call('HGET', job, 'status')
if not status then return 'gone' end
local holder = redis.call('HGET', job, 'attempt')

if verb == 'claim' then
  -- ARGV: token, worker, lease ms, max attempts, ttl, failure
  local token, worker, lease_ms = ARGV[4], ARGV[5], ARGV[6]
  local max, ttl, failure = tonumber(ARGV[7]), ARGV[8], ARGV[9]
  if status == 'running' and holder == token then return 'claimed' end
  if status ~= 'queued' then return status end
  redis.call('ZREM', unsent, id)
  if tonumber(redis.call('HGET', job, 'attempts')) >= max then
    redis.call('HSET', job, 'error', redis.call('HGET', job, 'last_error') or failure)
    finish('failed', ttl)
    return 'failed'
  end
  redis.call('HINCRBY', job, 'attempts', 1)
  redis.call('HSET', job, 'attempt', token, 'worker', worker, 'started_at', now, 'step', 0, 'total', 0)
  redis.call('SET', lease, token, 'PX', lease_ms)
  move('running')
  return 'claimed'
end

if verb == 'cancel' then
  -- ARGV: ttl
  if status == 'queued' then finish('cancelled', ARGV[4]) return 'cancelled' end
  if status == 'running' then redis.call('HSET', job, 'cancel', 1) return 'cancelling' end
  return status
end

if verb == 'reap' then
  -- ARGV: ttl. A worker that lost its lease has lost its job.
  if status ~= 'running' or redis.call('EXISTS', lease) == 1 then return status end
  return queue_again(ARGV[4]) == 'queued' and 'reaped' or 'cancelled'
end

-- The rest is for the attempt that holds the job, and for no other (fencing).
if status ~= 'running' or holder ~= ARGV[4] then return 'lost' end

if verb == 'advance' then
  -- ARGV: token, lease ms, step, total
  redis.call('SET', lease, ARGV[4], 'PX', ARGV[5])
  if ARGV[7] ~= '' then
    redis.call('HSET', job, 'step', ARGV[6], 'total', ARGV[7])
    emit('progress', cjson.encode({step = tonumber(ARGV[6]), total = tonumber(ARGV[7])}))
  end
  if redis.call('HGET', job, 'cancel') then return 'cancel' end
  return 'go'
end

if verb == 'preview' then
  -- ARGV: token, data
  emit('preview', ARGV[5])
  return 'go'
end

if verb == 'finish' then
  -- ARGV: token, status, ttl, then field value ...
  if ARGV[5] == 'succeeded' and redis.call('HGET', job, 'cancel') then return 'cancel' end
  if ARGV[7] then redis.call('HSET', job, unpack(ARGV, 7)) end
  finish(ARGV[5], ARGV[6])
  return 'finished'
end

if verb == 'give_back' then
  -- ARGV: token, ttl, failure
  redis.call('HSET', job, 'last_error', ARGV[6])
  return queue_again(ARGV[5])
end

return redis.error_reply('unknown verb ' .. verb)
