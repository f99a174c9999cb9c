-- The state machine of a job. Every change of state goes through here, so it is atomic.
--
-- KEYS: job hash, event stream, lease, jobs by time, unsent jobs, images to delete by time, server watch,
--       jobs that no worker can run, workers that were stopped; create: idempotency key
-- ARGV: verb, job id, ttl s, image ttl s, lease ms, longest silence s, then the verb's own
-- (The sets by status, and those of each tenant, are named from the one by time: this needs one server, not a
-- cluster.)
--
-- Put behind `call.lua` of `shared` and `held.lua` of `shared/scheduling`, whose functions it calls.
--
-- All times are this server's TIME: the clocks of callers may differ by hours.
--
--   queued -> running -> succeeded | failed | cancelled
--   queued -> cancelled | failed       running -> queued (another attempt)       any -> deleted
--
-- A record may be malformed: written by a newer version or by hand, or lost in part with the end of a log.
-- No verb raises an error for what it finds in one.

local job, events, lease, all, unsent, images, server, unrunnable, leaving = unpack(KEYS)
local verb, id, ttl, image_ttl, lease_ms, silence = unpack(ARGV, 1, 6)
local arg = {unpack(ARGV, 7)}
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])

local STATUSES = {'queued', 'running', 'succeeded', 'failed', 'cancelled'}
local IS_STATUS = {queued = true, running = true, succeeded = true, failed = true, cancelled = true}
local IS_ENDED = {succeeded = true, failed = true, cancelled = true}
local IS_LIVE = {queued = true, running = true}
-- How long the last events of a deleted job can still be read.
local LAST_EVENTS_S = 10
-- As many events are kept at least: of a job, and of a tenant's jobs for who reconnects within a while.
local MAX_EVENTS = 4000
local MAX_TENANT_EVENTS = 10000
local TENANT_EVENTS_S = 3600
local DAY_S = 86400
-- What tenants have used is kept for so many days; so many of them have a series of their own in the metrics.
local USAGE_DAYS = 400
local TENANT_SERIES = 50
local OTHER_TENANTS = '_other'  -- which no tenant is called
-- The tenant of records that name none.
local LOCAL = 'local'
-- Of a job that was lost more often only the latest attempts are shown in its timeline.
local MAX_EARLIER_ATTEMPTS = 20
-- Times are before the year 10000, as in `shared.jobs.record`.
local MAX_TIME_S = 253402300800
-- Jobs that must have ended by a time.
local DEADLINES = 'swift:deadlines'
-- A worker whose job ended without it may still be writing an image.
local LATE_IMAGES_S = 60

local kind = redis.call('TYPE', job).ok
local last_event = all .. ':last_event'  -- the id of the latest event of any job
local usage = all:gsub('jobs$', 'usage')  -- begins the keys of what tenants have used

local function field(name)
  return kind == 'hash' and redis.call('HGET', job, name) or nil
end

local function count(name)
  return tonumber(field(name)) or 0
end

-- A number without its fraction.
local function whole(number)
  return number - number % 1
end

-- Of an attempt that was silent for too long, until it is heard of; more than one may be.
local function reaped(token)
  return 'reaped:' .. token
end

-- Which tenant each job belongs to that is not `local`'s: known also when the record has expired.
local tenants = all .. ':tenants'

local function owner()
  return field('tenant') or call('HGET', tenants, id) or LOCAL
end

-- A key of a tenant, or without ``what`` its own record. nil: what a job's record names cannot be a tenant, and
-- has no keys.
local function key_of(tenant, what)
  if #tenant > 32 or not string.match(tenant, '^[a-z0-9][a-z0-9-]*$') then return nil end
  return (all:gsub('jobs$', 'tenant:' .. tenant .. (what and ':' .. what or '')))
end

-- Tells the tenant's webhooks, and the job's own: a dispatcher reads the stream. Written with the change of the
-- job itself, so that no event is lost between the two.
local function notify(event)
  local webhook, endpoints = field('webhook') or '', key_of(owner(), 'webhooks')
  if webhook == '' and (not endpoints or redis.call('EXISTS', endpoints) == 0) then return end
  local entry = {'event', 'job.' .. event, 'job', id, 'tenant', owner(), 'at', now, 'webhook', webhook}
  for _, name in ipairs({'created_at', 'started_at', 'error'}) do
    entry[#entry + 1] = name
    entry[#entry + 1] = field(name) or ''
  end
  local stream = all:gsub('jobs$', 'webhooks:events')
  call('XADD', stream, '*', unpack(entry))
end

-- Ids of events are unique in all streams, and in the order of the events: who reads several streams at once
-- goes on in all of them after one id.
local function next_event_id()
  local last = redis.pcall('GET', last_event)
  local ms, n = string.format('%d', whole(now * 1000)), 0
  local last_ms, last_n = string.match(type(last) == 'string' and last or '', '^(%d+)-(%d+)$')
  if last_ms and tonumber(last_ms) >= tonumber(ms) then ms, n = last_ms, last_n + 1 end
  return ms .. '-' .. string.format('%d', n)
end

local function append(stream, length, event_id, event, data, ...)
  return redis.pcall(
    'XADD', stream, 'MAXLEN', '~', length, event_id, 'type', event, 'data', data, ...)
end

-- Returns the id that the event has got.
local function add_event(stream, length, event_id, ...)
  local added = append(stream, length, event_id, ...)
  if type(added) ~= 'table' then return added end
  -- Something else has that key; or it has a later id, as after a clock was set back.
  if redis.call('TYPE', stream).ok ~= 'stream' then redis.call('DEL', stream) end
  return append(stream, length, '*', ...)
end

-- For who follows all jobs of the tenant.
local function emit_to_tenant(event_id, event, data)
  redis.call('SET', last_event, event_id)
  local stream = key_of(owner(), 'events')
  if not stream then return end
  add_event(stream, MAX_TENANT_EVENTS, event_id, event, data, 'job', id)
  redis.call('EXPIRE', stream, TENANT_EVENTS_S)
end

local function emit(event, data)
  local event_id = add_event(events, MAX_EVENTS, next_event_id(), event, data)
  if type(event_id) ~= 'string' then return end
  if event == 'preview' then  -- they are large, and few want those of every job
    redis.call('SET', last_event, event_id)
  else
    emit_to_tenant(event_id, event, data)
  end
end

-- The job's own stream goes with it.
local function emit_deleted()
  emit_to_tenant(next_event_id(), 'done', cjson.encode({status = 'deleted', at = tonumber(now)}))
end

local function emit_status(event, status)
  emit(event, cjson.encode({status = status, at = tonumber(now)}))
end

local function expire()
  redis.call('EXPIRE', job, ttl)
  redis.call('EXPIRE', events, ttl)
end

-- The sets by time that the job is in: that of all jobs, and its tenant's.
local function lists()
  return {all, key_of(owner(), 'jobs')}
end

-- The model that the job is for; a record of an earlier version has it in its spec alone.
local function model()
  local name = field('model')
  if name then return name end
  local is_json, spec = pcall(cjson.decode, field('spec') or '')
  return is_json and type(spec) == 'table' and type(spec.model) == 'string' and spec.model or ''
end

-- The sets of the jobs of one model in one state: those that wait or run are counted by model.
local function index_model(status, score)
  local name = model()
  for live in pairs(IS_LIVE) do
    if live ~= status then call('ZREM', all .. ':' .. live .. ':' .. name, id) end
  end
  if IS_LIVE[status] then
    call('SADD', all .. ':models', name)
    call('ZADD', all .. ':' .. status .. ':' .. name, score, id)
  end
end

-- The job is in the sets of its status, and in no other.
local function index(status)
  local created, tenant = field('created_at'), owner()
  local score = tonumber(created) and created or now
  for _, list in ipairs(lists()) do
    for _, other in ipairs(STATUSES) do
      if other ~= status then call('ZREM', list .. ':' .. other, id) end
    end
    call('ZADD', list, score, id)
    call('ZADD', list .. ':' .. status, score, id)
  end
  if tenant ~= LOCAL then call('HSET', tenants, id, tenant) end
  index_model(status, score)
end

local function forget()
  for _, list in ipairs(lists()) do
    call('ZREM', list, id)
    for _, status in ipairs(STATUSES) do call('ZREM', list .. ':' .. status, id) end
  end
  for _, name in ipairs(call('SMEMBERS', all .. ':models')) do  -- the record, which has it, may be gone
    for live in pairs(IS_LIVE) do call('ZREM', all .. ':' .. live .. ':' .. name, id) end
  end
  for _, set in ipairs({unsent, unrunnable, DEADLINES}) do call('ZREM', set, id) end
  call('HDEL', tenants, id)
end

-- What a tenant's jobs of the day of a time cost, in pixels times steps; counted of tenants that have a budget.
local function budget(tenant, at)
  return key_of(tenant, 'pixel_steps:' .. string.format('%d', (at - at % DAY_S) / DAY_S))
end

-- What a job that no worker has begun would have cost is given back to its tenant.
local function refund()
  local cost, created = tonumber(field('pixel_steps')), tonumber(field('created_at'))
  if not cost or not created or count('attempts') > 0 then return end
  local spent = budget(owner(), created)
  if spent and redis.call('EXISTS', spent) == 1 then
    redis.pcall('INCRBY', spent, string.format('%.0f', -cost))
  end
end

local function move(status)
  redis.call('HSET', job, 'status', status)
  index(status)
  emit_status('status', status)
  if IS_ENDED[status] then
    notify(status)
  elseif status == 'running' and count('attempts') == 1 then  -- once, also for a job that has further attempts
    notify('started')
  end
end

-- Not so are nan and inf, which tonumber and cjson read, and no JSON can hold.
local function is_time(value)
  return type(value) == 'number' and value >= 0 and value < MAX_TIME_S
end

-- A number in the record, if it is one that can be counted.
local function counted(value)
  local number = tonumber(value)
  return is_time(number) and number or nil
end

-- Count for the job's tenant, of this day, for how long devices have worked, and the other numbers in `more`.
-- The totals of all days decide which tenants have a series of their own in the metrics, so many at most.
local function count_usage(device_s, more)
  local tenant, device_ms = owner(), string.format('%d', whole(1000 * device_s + 0.5))
  if not key_of(tenant, 'usage') then return end
  local day = usage .. ':' .. string.format('%d', whole(now / DAY_S))
  redis.pcall('HINCRBY', day, tenant .. ':device_ms', device_ms)
  for name, number in pairs(more) do redis.pcall('HINCRBY', day, tenant .. ':' .. name, number) end
  redis.call('EXPIRE', day, USAGE_DAYS * DAY_S)
  redis.pcall('ZINCRBY', usage .. ':totals', device_ms, tenant)
  local rank = redis.pcall('ZREVRANK', usage .. ':totals', tenant)
  local has_series = type(rank) == 'number' and rank < TENANT_SERIES
  redis.pcall('HINCRBY', usage .. ':series', has_series and tenant or OTHER_TENANTS, device_ms)
  local displaced = redis.pcall('ZREVRANGE', usage .. ':totals', TENANT_SERIES, TENANT_SERIES)[1]
  if displaced then redis.pcall('HDEL', usage .. ':series', displaced) end
end

-- For how long devices have worked on the attempt that ends: as its worker says, or else since it began; 0 if no
-- worker has the job.
local function used_s(ended)
  local started = counted(field('started_at'))
  if not started then return 0 end
  return counted(field('device_s')) or math.max((counted(ended) or now) - started, 0)
end

-- Count a job that ends now, and its last attempt.
local function count_end(status)
  local image_count, bytes = 0, 0
  if status == 'succeeded' then
    local is_json, stored = pcall(cjson.decode, field('images') or '[]')
    image_count = is_json and type(stored) == 'table' and #stored or 0
    bytes = whole(counted(field('image_bytes')) or 0)
  end
  count_usage(used_s(now), {jobs = 1, images = image_count, image_bytes = string.format('%d', bytes)})
end

local function finish(status)
  refund()
  redis.call('HSET', job, 'finished_at', now)
  count_end(status)
  local created = tonumber(field('created_at'))
  if status == 'succeeded' and created then held.note_ratio(id, now - created) end
  held.settle(id, used_s(now))
  held.drop(id)
  redis.call('DEL', lease)
  call('ZREM', unsent, id)
  call('ZREM', unrunnable, id)
  call('ZREM', DEADLINES, id)
  move(status)
  emit_status('done', status)
  expire()
  if status == 'succeeded' then
    call('ZADD', images, now + math.min(image_ttl, ttl), id)
  elseif count('attempts') > 0 then
    call('ZADD', images, now + LATE_IMAGES_S, id)
  end
end

-- The well-formed elements of the earlier attempts; what is malformed would make the record unreadable.
local function earlier_attempts()
  local is_json, stored = pcall(cjson.decode, field('earlier_attempts') or '[]')
  local spans = {}
  for _, span in ipairs(is_json and type(stored) == 'table' and stored or {}) do
    if type(span) == 'table' and type(span.name) == 'string' and type(span.worker) == 'string'
        and is_time(span.start_s) and is_time(span.end_s) then
      spans[#spans + 1] = {name = span.name, start_s = span.start_s, end_s = span.end_s, worker = span.worker}
    end
  end
  return spans
end

-- Keep the time of the attempt that ends now, or of a lost one when it was last heard of, for the timeline.
local function note_attempt(ended)
  local spans, started, worker = earlier_attempts(), tonumber(field('started_at')), field('worker') or ''
  ended = tonumber(ended)
  if is_time(started) then
    if not is_time(ended) then ended = tonumber(now) end
    spans[#spans + 1] = {name = 'attempt', start_s = started, end_s = ended, worker = worker}
    count_usage(used_s(ended), {})
  end
  while #spans > MAX_EARLIER_ATTEMPTS do table.remove(spans, 1) end
  if #spans == 0 then  -- cjson would write an object
    redis.call('HDEL', job, 'earlier_attempts')
  else
    redis.call('HSET', job, 'earlier_attempts', cjson.encode(spans))
  end
end

-- Whether the deadline of its request has passed.
local function is_late()
  local deadline = call('ZSCORE', DEADLINES, id)
  return deadline and tonumber(deadline) < tonumber(now)
end

-- Another attempt may generate it; a job that somebody cancelled meanwhile is over.
-- A loss of infrastructure is not the job's fault, and is counted apart.
local function requeue(is_infrastructure, ended)
  if verb ~= 'hand_over' then held.keep_device(id) end  -- the interactive job that was to get it takes another one
  note_attempt(ended or now)
  held.settle(id, used_s(ended or now))
  redis.call('DEL', lease)
  redis.call('HDEL', job, 'attempt', 'worker', 'started_at', 'renewed_at', 'first_step_at')
  if is_infrastructure then redis.call('HSET', job, 'infrastructure_losses', count('infrastructure_losses') + 1) end
  if field('cancel') then
    finish('cancelled')
    return 'cancelled'
  end
  call('ZADD', unsent, now, id)
  move('queued')
  return 'queued'
end

-- Since when this server has answered without an outage: it was restarted, or no caller reached it for longer
-- than callers are ever silent. A lease that was not renewed since then says nothing about its worker.
local function answering_since()
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local known, seen, since = unpack(call('HMGET', server, 'run_id', 'seen', 'since'))
  if known and (known ~= run_id or now - (tonumber(seen) or 0) > tonumber(silence)) then
    since = now
    call('HSET', server, 'since', since)
  end
  call('HSET', server, 'run_id', run_id, 'seen', now)
  return tonumber(since) or 0
end

if verb == 'observe' then
  return tostring(answering_since())
end

if verb == 'leave' then
  -- ARGV: worker, which is stopped on purpose
  call('ZADD', leaving, now, arg[1])
  call('ZREMRANGEBYSCORE', leaving, 0, now - 86400)
  return 'noted'
end

-- A limit of the tenant as its record has it; nil if there is none, also if the record has another type.
local function limit(tenant, name)
  local found = redis.pcall('HGET', key_of(tenant), name)
  return type(found) == 'string' and found or nil
end

-- What of a tenant's limits leaves no room for another job: the limit's name, how high it is, what is left of
-- it, and in how many seconds there is more ('' unless that is known). nil: there is room.
local function exceeded(tenant, cost)
  local max_waiting, max_cost = limit(tenant, 'max_waiting_jobs'), limit(tenant, 'pixel_steps_per_day')
  if max_waiting and call('ZCARD', key_of(tenant, 'jobs:queued')) >= tonumber(max_waiting) then
    return {'max_waiting_jobs', max_waiting, '0', ''}
  end
  if not max_cost then return nil end
  local spent = budget(tenant, now)
  local left = tonumber(max_cost) - (tonumber(call('GET', spent)) or 0)
  if tonumber(cost) > left then
    local reset = string.format('%d', math.ceil(DAY_S - now % DAY_S))
    return {'pixel_steps_per_day', max_cost, string.format('%.0f', math.max(left, 0)), reset}
  end
  return nil
end

-- Count what the job costs of its tenant's budget, if that has a limit.
local function charge(tenant, cost)
  if not limit(tenant, 'pixel_steps_per_day') then return end
  local spent = budget(tenant, now)
  call('INCRBY', spent, cost)
  redis.call('EXPIRE', spent, 2 * DAY_S)
  redis.call('HSET', job, 'pixel_steps', cost)
end

if verb == 'limits' then
  -- ARGV: tenant. Returns what `exceeded` returns for the smallest job, or nothing. Changes nothing.
  return exceeded(arg[1], 1) or {}
end

if verb == 'create' then
  -- ARGV: digest of the request, tenant, the job's pixels times steps, then field value ...
  -- Returns the job's id and digest; or an empty id and what `exceeded` returns.
  local digest, tenant, cost = unpack(arg, 1, 3)
  local idempotency = KEYS[10]
  if kind == 'hash' then return {id, digest} end  -- the caller lost our reply and asks again
  if idempotency then
    local first = call('HGET', idempotency, 'job')
    if first and redis.call('EXISTS', (job:gsub(id, first, 1))) == 1 then
      return {first, call('HGET', idempotency, 'digest')}
    end
  end
  redis.call('DEL', job)
  local reached = exceeded(tenant, cost)
  if reached then return {'', unpack(reached)} end
  charge(tenant, cost)
  if idempotency then
    call('HSET', idempotency, 'job', id, 'digest', digest)
    redis.call('EXPIRE', idempotency, ttl)
  end
  redis.call('HSET', job, 'created_at', now, 'attempts', 0, 'tenant', tenant, unpack(arg, 4))
  kind = 'hash'
  call('ZADD', unsent, now, id)
  local deadline_s = tonumber(field('deadline_s'))
  if deadline_s then call('ZADD', DEADLINES, now + deadline_s, id) end
  move('queued')
  redis.call('EXPIRE', job, 10 * ttl)  -- a job that still waits must outlive those that have ended
  redis.call('EXPIRE', events, 10 * ttl)
  return {id, digest}
end

local status = field('status')

if verb == 'heal' then
  -- Repairs what a lost write, an edit by hand or an expiry has left inconsistent. Returns whether the record exists.
  if kind == 'hash' and IS_STATUS[status] then
    index(status)
    if status ~= 'queued' then call('ZREM', unsent, id) end
    if IS_ENDED[status] and redis.call('TTL', job) == -1 then expire() end
    return 'kept'
  end
  if kind == 'hash' and field('spec') then return 'kept' end  -- of a newer version, perhaps
  forget()
  if kind == 'none' then
    redis.call('DEL', lease)
    if redis.call('TTL', events) > LAST_EVENTS_S or redis.call('TTL', events) == -1 then
      redis.call('DEL', events)
    end
  end
  return 'gone'
end

if (verb == 'delete' or verb == 'cancel') and kind ~= 'none' then
  -- ARGV: the tenant that asks, '' for anybody; 'unaccepted': nobody is told of a job that was refused after all.
  -- A job of another tenant is to it as one that does not exist.
  if (arg[1] or '') ~= '' and arg[1] ~= owner() then return 'gone' end
end

if verb == 'delete' then
  if kind == 'none' then
    forget()
    return 'gone'
  end
  if status and IS_STATUS[status] and not IS_ENDED[status] then
    emit_status('status', 'cancelled')
    emit_status('done', 'cancelled')
    if arg[2] ~= 'unaccepted' then
      count_end('cancelled')
      notify('cancelled')
    end
    redis.call('EXPIRE', events, LAST_EVENTS_S)
  else
    redis.call('DEL', events)
  end
  emit_deleted()
  if status == 'queued' then refund() end
  held.settle(id, used_s(now))
  held.drop(id)
  forget()
  redis.call('DEL', job, lease)
  call('ZADD', images, now + (status == 'running' and LATE_IMAGES_S or 0), id)
  return status or 'unreadable'
end

if kind == 'none' then
  forget()
  return 'gone'
end

if verb == 'cancel' then
  if kind ~= 'hash' then
    forget()
    return 'unreadable'
  end
  if status == 'running' then redis.call('HSET', job, 'cancel', 1) return 'cancelling' end
  if not IS_ENDED[status] then finish('cancelled') return 'cancelled' end
  return status
end

if kind ~= 'hash' then
  forget()
  return 'unreadable'
end

local holder = field('attempt')

if verb == 'claim' then
  -- ARGV: token, worker, version of records, max attempts, max losses, failure after these, failure of a late job
  local token, worker, version, max, max_losses, failure, late = unpack(arg)
  if status == 'running' and holder == token then return 'claimed' end
  if status ~= 'queued' then return status or 'unreadable' end
  if (tonumber(field('version')) or 1) > tonumber(version) then return 'newer' end
  call('ZREM', unsent, id)
  call('ZREM', unrunnable, id)
  if late and is_late() then
    redis.call('HSET', job, 'error', late)
    finish('failed')
    return 'failed'
  end
  local losses = count('infrastructure_losses')
  if count('attempts') - losses - count('hand_overs') >= tonumber(max) or losses >= tonumber(max_losses) then
    redis.call('HSET', job, 'error', field('last_error') or failure)
    finish('failed')
    return 'failed'
  end
  if not held.claim(id) then return 'held' end
  redis.call('HSET', job, 'attempts', count('attempts') + 1)
  redis.call('HSET', job, 'attempt', token, 'worker', worker, 'started_at', now, 'renewed_at', now)
  redis.call('HDEL', job, 'preempted_by', 'first_step_at')
  redis.call('SET', lease, token, 'PX', lease_ms)
  move('running')
  return 'claimed'
end

if verb == 'reap' then
  -- A worker that lost its lease has lost its job, unless it could not have renewed it.
  if status ~= 'running' then
    if IS_STATUS[status] then index(status) else forget() end
    return status or 'unreadable'
  end
  local held_by = redis.pcall('GET', lease)
  if held_by == holder and held_by then return 'running' end
  local since = answering_since()
  if now - since < lease_ms / 1000 then return 'waiting' end
  local started = tonumber(field('started_at')) or tonumber(now)
  local renewed = tonumber(field('renewed_at')) or tonumber(now)
  local left = tonumber(call('ZSCORE', leaving, field('worker') or '') or 0)
  local is_infrastructure = renewed < since or left > started
  if not is_infrastructure and holder then redis.call('HSET', job, reaped(holder), 1) end
  return requeue(is_infrastructure, renewed) == 'queued' and 'reaped' or 'cancelled'
end

if verb == 'fail' then
  -- ARGV: failure. Ends a queued job that no worker can run; a running one is ended by its worker.
  if status == 'running' or IS_ENDED[status] then return status end
  redis.call('HSET', job, 'error', arg[1])
  finish('failed')
  return 'failed'
end

-- The verbs below are for the attempt that holds the job only (fencing).
local token = arg[1]
if verb == 'finish' and status == arg[2] and holder == token then return 'finished' end  -- asked again
if status ~= 'running' or holder ~= token then
  if field(reaped(token)) then
    -- It lives, and was only silent for too long: that is not the job's fault.
    redis.call('HDEL', job, reaped(token))
    redis.call('HSET', job, 'infrastructure_losses', count('infrastructure_losses') + 1)
  end
  return 'lost'
end

if verb == 'advance' then
  -- ARGV: token, step, total, '1' for a job that gives its device to no other one
  redis.call('SET', lease, token, 'PX', lease_ms)
  redis.call('HSET', job, 'renewed_at', now)
  if arg[3] ~= '' and tonumber(arg[2]) > 0 then redis.call('HSETNX', job, 'first_step_at', now) end  -- of this attempt
  -- Progress never goes back, also where a further attempt begins anew: clients show it as a bar.
  if arg[3] ~= '' and tonumber(arg[2]) > count('step') then
    redis.call('HSET', job, 'step', arg[2], 'total', arg[3])
    emit('progress', cjson.encode({step = tonumber(arg[2]), total = tonumber(arg[3])}))
  end
  if field('cancel') then return 'cancel' end
  if is_late() then return 'deadline' end
  if arg[4] == '1' then held.keep_device(id) return 'go' end
  if held.note_preemption(id, field('first_step_at')) then return 'preempt' end
  return 'go'
end

if verb == 'preview' then
  -- ARGV: token, data
  emit('preview', arg[2])
  return 'go'
end

if verb == 'finish' then
  -- ARGV: token, status, then field value ...
  if arg[2] == 'succeeded' and field('cancel') then return 'cancel' end
  if arg[3] then redis.call('HSET', job, unpack(arg, 3)) end
  finish(arg[2])
  return 'finished'
end

if verb == 'hand_over' then
  -- ARGV: token. The worker was told to stop: the attempt ends early, and counts neither as one nor as a loss.
  redis.call('HSET', job, 'hand_overs', count('hand_overs') + 1)
  return requeue(false)
end

if verb == 'requeue' then
  -- ARGV: token, failure, '1' for a loss of infrastructure
  redis.call('HSET', job, 'last_error', arg[2])
  return requeue(arg[3] == '1')
end

return redis.error_reply('unknown verb ' .. verb)
