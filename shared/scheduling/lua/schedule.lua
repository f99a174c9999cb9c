-- Which held job is released next, and into which queue. Put behind `call.lua` of `shared` and `held.lua`, whose
-- functions it calls.
--
-- KEYS: jobs without a message, free workers, queues with a reserved job (as in `availability.lua`)
-- ARGV: command, then the command's own arguments
--
--   accepted -> held -> released -> running -> ended         (held.lua and job.lua)
--   released: its message is in the common queue, in that of the worker that is reserved for it, or taken
--   running -> released ('first': it goes on elsewhere) | held ('last') | delayed ('later') -> held
--   held | delayed | released -> ended (cancelled, failed, deleted)

local unsent, free, reserved = unpack(KEYS)
local command = ARGV[1]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6

-- A job that is given back again and again is tried again after 1, 4, 16, ... s: a server may be away.
local PAUSE_BASE, MAX_PAUSE_S = 4, 60

-- A fleet of more workers gets the rest of its window with the next call.
local MAX_AT_ONCE = 64

-- A job with LoRAs that a worker has comes before so many others of its tenant at most, which were accepted
-- sooner by so much at most: each is passed by a bounded number of jobs.
local MAX_PASSED, MAX_PASSED_S = 32, 30

-- What Celery sends, task protocol 2, in kombu's envelope; body and header name the job. A test compares it
-- with a message of Celery's own.
local ENVELOPE = '{"body": %s, "content-encoding": "utf-8", "content-type": "application/json", '
  .. '"headers": {"lang": "py", "task": "unet.generate", "id": "%s", "shadow": null, "eta": null, '
  .. '"expires": null, "group": null, "group_index": null, "retries": 0, "timelimit": [null, null], '
  .. '"root_id": "%s", "parent_id": null, "argsrepr": "[{\'job_id\': \'%s\'}]", "kwargsrepr": "{}", '
  .. '"origin": "release", "ignore_result": null, "replaced_task_nesting": 0, "stamped_headers": null, '
  .. '"stamps": {}}, "properties": {"correlation_id": "%s", "reply_to": "", "delivery_mode": 2, '
  .. '"delivery_info": {"exchange": "", "routing_key": %s}, "priority": 0, "body_encoding": null, '
  .. '"delivery_tag": "%s"}}'
local BODY = '[[{"job_id": "%s"}], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'

local function message(id, queue)
  local tag = id .. '.' .. held.increase(id, 'releases')
  return ENVELOPE:format(
    cjson.encode(BODY:format(id)), id, id, id, id, cjson.encode(queue), tag)
end

local function common_queue(model)
  return 'unet.' .. model
end

-- Workers take from the right end.
local function send(id, model, tenant, queue, is_first)
  held.release(id, model, tenant)
  call('ZREM', unsent, id)
  call(is_first and 'RPUSH' or 'LPUSH', queue, message(id, queue))
end

-- The next free worker takes this interactive job, for which another one has given its device away; not if its
-- tenant has reached its cap meanwhile: then it may take a device later.
local function send_first(id, model)
  local job, queue = held.read(id), common_queue(model)
  if not job or job.status ~= 'queued' then return end
  if held.is_waiting(id, model, job.tenant) then
    if held.is_at_cap(job.tenant) then return end
    send(id, model, job.tenant, queue, true)
  else
    for _, text in ipairs(call('LRANGE', queue, 0, -1)) do  -- no longer than the window
      if text:find('"id": "' .. id .. '"', 1, true) then
        call('LREM', queue, 1, text)
        call('RPUSH', queue, text)
        break
      end
    end
  end
  held.begin(id)
end

-- The job of a message; nil if it is none of ours.
local function job_of(text)
  return text and text:match('"id": "(%x+)"')
end

-- Whether a worker that has these LoRAs in its weights may take the job before the next one of its tenant.
local function may_pass(id, next_job, patched)
  local job = id and held.read(id)
  return job and job.status == 'queued' and job.order and not job.is_begun
    and job.tenant == next_job.tenant and job.priority == next_job.priority
    and job.order - next_job.order <= MAX_PASSED_S and held.has_loras(id, patched)
end

-- A released job gets back the place that it had; its tenant is charged nothing for it.
local function hold_again(id, model, job)
  held.settle(id, 0)
  held.unrelease(id, model, job.tenant)
  held.hold(id, model, job.tenant, job.order)
end

local function fill(model)
  local queue, count = common_queue(model), 0
  local room = math.min(held.window(model) - call('LLEN', queue), MAX_AT_ONCE)
  while count < room do
    local id, tenant = held.next(model)
    if not id then break end
    send(id, model, tenant, queue)
    count = count + 1
  end
  return count
end

-- A tenant may have more jobs released than before, of any model.
local function fill_for(tenant)
  local count = 0
  for _, model in ipairs(held.models(tenant)) do count = count + fill(model) end
  return count
end

local function hold_due()
  for _, id in ipairs(held.take_due()) do
    local job = held.read(id)
    if job and job.status == 'queued' and job.model then
      held.hold(id, job.model, job.tenant, job.order or now)
    end
  end
end

-- A free worker for a job that waits behind no other; it is not free any more.
local function reserve(id, model, tenant, from)
  if call('LLEN', common_queue(model)) > 0 or not held.is_only(id, model, tenant) then return nil end
  for i = from, #ARGV do
    local expires_at = call('ZSCORE', free, ARGV[i])
    if expires_at and tonumber(expires_at) > now then
      call('ZREM', free, ARGV[i])
      call('ZADD', reserved, now, common_queue(model) .. '@' .. ARGV[i])
      return ARGV[i]
    end
  end
  return nil
end

if command == 'place' then
  -- ARGV: job, model, ageing s, workers in order of preference. Holds an accepted job and releases what may be
  -- released. Returns the worker that is reserved for it; nothing if it went another way.
  local id, model, ageing_s = ARGV[2], ARGV[3], ARGV[4]
  local job = held.read(id)
  if not job or job.status ~= 'queued' then
    call('ZREM', unsent, id)
    return false
  end
  local tenant = job.tenant
  if not held.is_held(id, model, tenant) and not held.is_released(id, tenant) then  -- else: asked again
    local order = held.next_order(job.priority, ageing_s)
    redis.call('HSET', 'swift:job:' .. id, 'model', model, 'order', string.format('%.17g', order))
    held.hold(id, model, tenant, order)
  end
  call('ZREM', unsent, id)
  hold_due()
  local worker = reserve(id, model, tenant, 5)
  if worker then send(id, model, tenant, common_queue(model) .. '@' .. worker) end
  fill(model)
  return worker or false
end

if command == 'send' then
  -- ARGV: job, model, ageing s, where: 'first' of all that wait, 'last' of its tenant's, 'later', or 'again' at
  -- the place that it had, behind the job that took its device. For a queued job that a worker has given back,
  -- or whose message was lost. Returns what becomes of it.
  local id, model, ageing_s, where = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
  local key, job = 'swift:job:' .. id, held.read(id)
  call('ZREM', unsent, id)
  if not job or job.status ~= 'queued' then return 'not queued' end
  redis.call('HSET', key, 'model', model)
  if held.is_held(id, model, job.tenant) then
    fill(model)
    return 'held'
  end
  held.keep_device(id)
  if where == 'first' then
    send(id, model, job.tenant, common_queue(model), true)
    return 'released'
  end
  local order = where == 'again' and job.order or held.next_order(job.priority, ageing_s)
  redis.call('HSET', key, 'order', string.format('%.17g', order))
  held.settle(id, 0)  -- of a release that no worker has begun
  held.unrelease(id, model, job.tenant)
  if where == 'later' then
    held.begin(id)  -- until its pause is over, it takes no other job's device
    local pauses = held.increase(id, 'pauses')
    held.delay(id, math.min(PAUSE_BASE ^ (pauses - 1), MAX_PAUSE_S))
    fill(model)
    fill_for(job.tenant)
    return 'delayed'
  end
  held.hold(id, model, job.tenant, order)
  if where == 'again' and job.preempted_by then
    held.increase(id, 'preemptions')
    send_first(job.preempted_by, model)
  end
  fill(model)
  fill_for(job.tenant)
  return 'held'
end

if command == 'release' then
  -- ARGV: models. Returns how many jobs were released.
  hold_due()
  local count = 0
  for i = 2, #ARGV do count = count + fill(ARGV[i]) end
  return count
end

if command == 'prefer' then
  -- ARGV: model, LoRAs that are in the weights of the worker that takes the next job. Returns the job with such
  -- LoRAs that comes next in place of another one of its tenant and priority; nothing if the order stays.
  local model, queue, patched = ARGV[2], common_queue(ARGV[2]), {}
  for i = 3, #ARGV do patched[ARGV[i]] = true end
  local id = job_of(call('LINDEX', queue, -1))
  local next_job = id and held.read(id)
  if not next_job or next_job.status ~= 'queued' or not next_job.order or next_job.is_begun then return false end
  if held.count(model) == 0 or held.has_loras(id, patched) then return false end
  local texts = call('LRANGE', queue, -MAX_PASSED, -2)
  for i = #texts, 1, -1 do
    local other = job_of(texts[i])
    if may_pass(other, next_job, patched) then
      local position = i - #texts - 2
      call('LSET', queue, position, call('LINDEX', queue, -1))
      call('LSET', queue, -1, texts[i])
      return other
    end
  end
  for _, other in ipairs(held.first(model, next_job.tenant, MAX_PASSED)) do
    if may_pass(other, next_job, patched) then
      hold_again(id, model, next_job)
      held.release(other, model, next_job.tenant)
      call('LSET', queue, -1, message(other, queue))
      return other
    end
  end
  return false
end

if command == 'serve' then
  -- ARGV: worker, seconds, models. For so long the worker takes jobs of these models; 0: it takes none.
  -- Returns how many jobs were released.
  hold_due()
  local count = 0
  for i = 4, #ARGV do
    held.serve(ARGV[i], ARGV[2], tonumber(ARGV[3]))
    count = count + fill(ARGV[i])
  end
  return count
end

if command == 'state' then
  -- ARGV: model, tenant, priority, ageing s, a job that has its place, or ''. Returns as JSON what of its tenant
  -- is before it, or before a job that would be accepted now, and what was released.
  local model, tenant, priority, ageing_s, id = unpack(ARGV, 2, 6)
  local job = id ~= '' and held.read(id)
  local order = job and job.order or held.next_order(priority, ageing_s, true)
  local free_now = call('ZRANGEBYSCORE', free, now, '+inf')
  local cap, running = held.released(tenant)
  return cjson.encode({
    own = held.before(model, tenant, order),
    cap = cap,
    running = running,
    released = call('LLEN', common_queue(model)),
    queued = call('ZCARD', 'swift:tenant:' .. tenant .. ':jobs:queued'),
    free = #free_now > 0 and free_now or nil,  -- an empty list would be written as an object
  })
end

if command == 'queues' then
  -- ARGV: model. Returns as JSON the held jobs of each tenant.
  return cjson.encode(held.queues(ARGV[2]))
end

if command == 'compete' then
  -- ARGV: tenant, whose share was changed. Returns how many jobs were released.
  held.compete(ARGV[2])
  return fill_for(ARGV[2])
end

if command == 'forget_ended' then
  -- ARGV: tenant. Returns how many jobs counted against its cap that have ended, or are gone.
  local count = held.forget_ended(ARGV[2])
  fill_for(ARGV[2])
  return count
end

if command == 'unclaimed' then
  -- ARGV: seconds, count. Returns so many jobs at most that were released longer ago, and that none has begun.
  return held.unclaimed(tonumber(ARGV[2]), ARGV[3])
end

if command == 'is_held' then
  -- ARGV: job. Returns whether it is held or delayed.
  local job = held.read(ARGV[2])
  return job and job.model and held.is_held(ARGV[2], job.model, job.tenant) and 1 or 0
end

if command == 'heal_held' then
  -- ARGV: jobs. Returns those that are neither held nor delayed.
  return held.heal({unpack(ARGV, 2)})
end

return redis.error_reply('unknown command ' .. command)
