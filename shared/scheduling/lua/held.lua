-- Held jobs: accepted jobs that wait for their release, by model and tenant; and what each tenant was given.
-- Functions for the scripts that this text is put before: `schedule.lua`, and `job.lua` of `shared/jobs`.
--
-- Start-time fair queueing (Goyal, Vin and Cheng, 1996): each tenant has a virtual time for each model, in
-- device-seconds by weight. The tenant with the least is next; what its job costs, by its weight, is added. A
-- tenant that had no held job of the model begins where the last release began, so that nothing is saved up.
--
-- Keys are those of `shared/keys.py`, derived here: this needs one server, not a cluster. A record may be
-- malformed: no function raises an error for what it finds in one. Put behind `shared/lua/call.lua`, which drops
-- other keys of the wrong type; recovery gives the jobs that they held their places again.

local held = {}

do
  local time = redis.call('TIME')
  local now = time[1] + time[2] / 1e6
  local STATE, DELAYED = 'swift:scheduling', 'swift:delayed'
  -- Released jobs that no worker has begun, by when they were released: a message is lost of these alone.
  local UNCLAIMED = 'swift:unclaimed'
  -- What a tenant was given of one model counts for its jobs of another up to this, ahead of the others there:
  -- workers may serve different models, and then they do not compete.
  local MAX_LAG = 60
  -- An interactive job takes a device from a batch job when it has waited for longer than a free worker would
  -- let it, and only from one whose first step was a while ago and that has not nearly ended.
  local PREEMPT_AFTER_S, MIN_RUN_S, MIN_LEFT = 1, 2, 0.1
  -- So often a job gives its device away at most. So many of those that may take it are looked at: it matters
  -- only while others give their devices to these.
  local MAX_PREEMPTIONS, MAX_URGENT = 3, 16
  -- One that is gone without having ended is forgotten some time after the last that came.
  local URGENT_S = 86400
  -- How much of the mean cost of a tenant's jobs comes of the latest one.
  local LATEST_SHARE = 1 / 8
  -- How long it is remembered how jobs of a model took by their estimates, and of how many.
  local RATIOS, RATIOS_S = 64, 30 * 86400
  -- So many are to be done by their `eta_p90_s`, and so much one job changes the quantile that this takes.
  local IN_TIME, QUANTILE_STEP = 0.9, 0.05
  -- What was given to a tenant is known for so long after its last job: it has its share from then on, too.
  local SHARE_S = 30 * 86400
  -- Of a job that nobody has estimated.
  local DEFAULT_COST_S = 1
  -- Tenants' jobs of this tenant have no field: records of earlier versions, and of an API without keys.
  local LOCAL = 'local'
  local OFFSETS = {interactive = -1, normal = 0, batch = 1}

  local function number(value, default)
    local found = tonumber(value or nil)
    if found and found == found and math.abs(found) < 1e15 then return found end
    return default
  end

  local function text(value)
    return string.format('%.17g', value)
  end

  local function record(id) return 'swift:job:' .. id end
  local function jobs_of(model, tenant) return 'swift:held:' .. model .. ':' .. tenant end
  local function tenants_of(model) return 'swift:held_tenants:' .. model end
  local function models_of(tenant) return 'swift:held_models:' .. tenant end
  local function released_of(tenant) return 'swift:released:' .. tenant end
  local function urgent_jobs_of(model, tenant) return 'swift:urgent_jobs:' .. model .. ':' .. tenant end
  local function urgent_tenants_of(model) return 'swift:urgent_tenants:' .. model end
  local function urgent_released_of(model) return 'swift:urgent_released:' .. model end
  local function limits_of(tenant) return 'swift:tenant:' .. tenant end
  local function share_of(tenant) return 'swift:share:' .. tenant end

  -- --- jobs

  -- Count in a job's record, from 0 if what stands there is no number.
  function held.increase(id, field)
    local count = math.floor(number(redis.call('HGET', record(id), field), 0)) + 1
    redis.call('HSET', record(id), field, string.format('%d', count))
    return count
  end

  -- What the record says that matters here; nil if there is none.
  function held.read(id)
    if redis.call('TYPE', record(id)).ok ~= 'hash' then return nil end
    local found = redis.call('HMGET', record(id), 'status', 'tenant', 'model', 'priority', 'cost_s', 'order',
      'step', 'total', 'charged_s', 'attempts', 'preempted_by', 'preempts', 'preemptions')
    local step, total = number(found[7], 0), number(found[8], 0)
    local left = 1
    if total > 0 and step >= 0 and step < total then left = 1 - step / total end
    return {
      status = found[1], tenant = found[2] or LOCAL, model = found[3], priority = found[4] or 'normal',
      left = left, left_s = math.max(number(found[5], DEFAULT_COST_S), 0) * left,
      order = number(found[6]), charged_s = number(found[9], 0), is_begun = number(found[10], 0) > 0,
      preempted_by = found[11], preempts = found[12], preemptions = number(found[13], 0),
    }
  end

  -- Whether the job has LoRAs, and all of them are among these.
  function held.has_loras(id, versions)
    local is_json, wanted = pcall(cjson.decode, redis.call('HGET', record(id), 'lora_versions') or '[]')
    if not is_json or type(wanted) ~= 'table' or #wanted == 0 then return false end
    for _, version in ipairs(wanted) do
      if not versions[version] then return false end
    end
    return true
  end

  -- The models of which a tenant has held jobs.
  function held.models(tenant)
    return call('SMEMBERS', models_of(tenant))
  end

  -- How many jobs of the model are held.
  function held.count(model)
    return number(call('HGET', STATE, 'held:' .. model), 0)
  end

  -- The first held jobs of a tenant.
  function held.first(model, tenant, count)
    return call('ZRANGE', jobs_of(model, tenant), 0, count - 1)
  end

  -- A place behind all jobs of its class; an earlier one than younger jobs of a class below that are older by
  -- less than `ageing_s`.
  function held.next_order(priority, ageing_s, is_asked_only)
    local order = math.max(now, number(call('HGET', STATE, 'order'), 0) + 1e-6)
    if not is_asked_only then call('HSET', STATE, 'order', text(order)) end
    return order + (OFFSETS[priority] or 0) * number(ageing_s, 0)
  end

  -- Whether the job waits for its turn.
  function held.is_waiting(id, model, tenant)
    return call('ZSCORE', jobs_of(model, tenant), id) ~= false
  end

  -- The same, or for the end of its pause.
  function held.is_held(id, model, tenant)
    return held.is_waiting(id, model, tenant)
      or call('ZSCORE', DELAYED, id) ~= false
  end

  function held.is_released(id, tenant)
    return call('SISMEMBER', released_of(tenant), id) == 1
  end

  -- --- tenants

  -- nil if there is none, also if the tenant's record has another type.
  local function limit(tenant, name)
    local found = redis.pcall('HGET', limits_of(tenant), name)
    return type(found) == 'string' and number(found) or nil
  end

  local function weight(tenant)
    return math.max(limit(tenant, 'weight') or 1, 1e-6)
  end

  local function is_at_cap(tenant, leaving)
    local cap = limit(tenant, 'max_running_jobs')
    return cap ~= nil and call('SCARD', released_of(tenant)) - (leaving or 0) >= cap
  end
  held.is_at_cap = is_at_cap

  -- Where the last release of a job of this model began.
  local function model_time(model)
    return number(call('HGET', STATE, 'virtual_time:' .. model), 0)
  end

  -- The tenant's virtual time after its last release.
  local function given(model, tenant)
    return number(call('HGET', share_of(tenant), 'virtual_time:' .. model), 0)
  end

  local function virtual_time(model, tenant)
    local kept = call('ZSCORE', tenants_of(model), tenant)
    return kept and tonumber(kept) or math.max(given(model, tenant), model_time(model))
  end

  local function set_share(tenant, field, value)
    call('HSET', share_of(tenant), field, text(value))
    redis.call('EXPIRE', share_of(tenant), SHARE_S)
  end

  local function set_virtual_time(model, tenant, value)
    set_share(tenant, 'virtual_time:' .. model, value)
    call('ZADD', tenants_of(model), 'XX', text(value), tenant)
    call('ZADD', urgent_tenants_of(model), 'XX', text(value), tenant)
  end

  -- The tenant competes for the model, unless it may have no more jobs released.
  local function enter(model, tenant)
    if is_at_cap(tenant) then return end
    call('ZADD', tenants_of(model), 'NX', text(virtual_time(model, tenant)), tenant)
    if redis.call('EXISTS', urgent_jobs_of(model, tenant)) == 1 then
      call('ZADD', urgent_tenants_of(model), text(given(model, tenant)), tenant)
    end
  end

  local function leave(model, tenant)
    call('ZREM', tenants_of(model), tenant)
    call('ZREM', urgent_tenants_of(model), tenant)
  end

  local function leave_if_empty(model, tenant)
    if redis.call('EXISTS', jobs_of(model, tenant)) == 0 then
      leave(model, tenant)
      call('SREM', models_of(tenant), model)
    end
  end

  -- After a change of its cap, or of its released jobs.
  function held.compete(tenant)
    local is_out = is_at_cap(tenant)
    for _, model in ipairs(held.models(tenant)) do
      if is_out then leave(model, tenant) else enter(model, tenant) end
    end
  end

  -- Returns the virtual time at which the release of the job began.
  local function charge(model, tenant, seconds)
    local amount, start = seconds / weight(tenant), virtual_time(model, tenant)
    set_virtual_time(model, tenant, start + amount)
    call('HSET', STATE, 'virtual_time:' .. model, text(math.max(start, model_time(model))))
    for _, other in ipairs(held.models(tenant)) do
      if other ~= model then
        local own = virtual_time(other, tenant)
        local most = math.max(own, model_time(other) + MAX_LAG)
        set_virtual_time(other, tenant, math.min(own + amount, most))
      end
    end
    return start
  end

  -- An attempt has used so many device-seconds: they count in place of what its release was charged.
  function held.settle(id, used_s)
    local job = held.read(id)
    if not job or not job.model or job.charged_s == 0 then return end
    redis.call('HDEL', record(id), 'charged_s')
    local amount = (math.max(number(used_s, 0), 0) - job.charged_s) / weight(job.tenant)
    set_virtual_time(job.model, job.tenant, virtual_time(job.model, job.tenant) + amount)
  end

  local function mean_cost_s(model, tenant)
    return number(call('HGET', share_of(tenant), 'mean_cost_s:' .. model))
  end

  local function note_cost(id, model, tenant)
    local job, mean = held.read(id), mean_cost_s(model, tenant)
    local cost_s = job and job.left_s or DEFAULT_COST_S
    local value = mean and mean + LATEST_SHARE * (cost_s - mean) or cost_s
    set_share(tenant, 'mean_cost_s:' .. model, value)
  end

  -- As `TenantQueue` of `eta.py`.
  local function queue(model, tenant, jobs)
    return {weight = weight(tenant), jobs = jobs, job_s = mean_cost_s(model, tenant) or DEFAULT_COST_S}
  end

  -- Those jobs of the tenant that come before one with the place `order`.
  function held.before(model, tenant, order)
    return queue(model, tenant, call('ZCOUNT', jobs_of(model, tenant), '-inf', '(' .. text(order)))
  end

  -- The held jobs of each tenant that competes for the model: it takes as long as there are tenants.
  function held.queues(model)
    local found = {}
    for _, tenant in ipairs(call('ZRANGE', tenants_of(model), 0, -1)) do
      found[tenant] = queue(model, tenant, call('ZCARD', jobs_of(model, tenant)))
    end
    return found
  end

  -- The tenant's cap, or nil, and how many of its jobs are released.
  function held.released(tenant)
    return limit(tenant, 'max_running_jobs'), call('SCARD', released_of(tenant))
  end

  -- Adaptive conformal inference (Gibbs and Candès, 2021): each job that is late raises the quantile, each that
  -- is in time lowers it, so that one in ten is late, also while the load is other than that of earlier jobs.
  local function adapt_quantile(key, is_late)
    local quantile = number(call('GET', key), IN_TIME)
    quantile = quantile + QUANTILE_STEP * (is_late and IN_TIME or IN_TIME - 1)
    redis.call('SET', key, string.format('%.6g', math.min(math.max(quantile, 0.5), 1)), 'EX', RATIOS_S)
  end

  -- A job has succeeded: how long it took, by its estimate.
  function held.note_ratio(id, took_s)
    local found = redis.call('HMGET', record(id), 'model', 'eta_s', 'eta_kind', 'estimate')
    local model, eta_s, kind = found[1], number(found[2]), found[3]
    if not model or not kind or not eta_s or eta_s <= 0 then return end
    local measured = 'swift:measured:' .. model
    local key = measured .. ':eta_ratio:' .. kind
    call('LPUSH', key, string.format('%.6g', took_s / eta_s))
    call('LTRIM', key, 0, RATIOS - 1)
    redis.call('EXPIRE', key, RATIOS_S)
    local is_json, estimate = pcall(cjson.decode, found[4] or '')
    local p90_s = is_json and type(estimate) == 'table' and number(estimate.eta_p90_s)
    if p90_s then adapt_quantile(measured .. ':eta_quantile:' .. kind, took_s > p90_s) end
  end

  -- --- interactive jobs that wait for a device, held or released, by since when

  local function add_urgent(id, model, tenant)
    call('ZADD', urgent_jobs_of(model, tenant), 'NX', text(now), id)
    redis.call('EXPIRE', urgent_jobs_of(model, tenant), URGENT_S)
  end

  -- It may take a device also while its tenant is at its cap; `before` is the virtual time of its release.
  local function release_urgent(id, model, tenant, before)
    if call('ZSCORE', urgent_jobs_of(model, tenant), id) then
      call('ZADD', urgent_released_of(model), text(before), id)
      redis.call('EXPIRE', urgent_released_of(model), URGENT_S)
    end
  end

  local function remove_urgent(id, model, tenant)
    call('ZREM', urgent_released_of(model), id)
    if call('ZREM', urgent_jobs_of(model, tenant), id) == 1
        and redis.call('EXISTS', urgent_jobs_of(model, tenant)) == 0 then
      call('ZREM', urgent_tenants_of(model), tenant)
    end
  end

  -- --- changes

  local function add_to_count(model, jobs)
    call('HSET', STATE, 'held:' .. model, string.format('%d', math.max(held.count(model) + jobs, 0)))
  end

  -- The tenant competes for the model with this held job.
  local function compete_for(id, model, tenant, priority)
    call('SADD', models_of(tenant), model)
    if priority == 'interactive' then add_urgent(id, model, tenant) end
    enter(model, tenant)
  end

  function held.hold(id, model, tenant, order)
    note_cost(id, model, tenant)
    if call('ZADD', jobs_of(model, tenant), text(order), id) == 1 then add_to_count(model, 1) end
    local job = held.read(id)
    compete_for(id, model, tenant, job and job.priority)
  end

  -- Writes again, for those of some jobs that are held, what says that their tenants compete, as it may have been
  -- lost. Returns the others.
  function held.heal(ids)
    local others, competing = {}, {}
    for _, id in ipairs(ids) do
      local job = held.read(id)
      if not (job and job.model and held.is_held(id, job.model, job.tenant)) then
        others[#others + 1] = id
      elseif held.is_waiting(id, job.model, job.tenant) then
        local place = job.model .. ':' .. job.tenant .. ':' .. (job.priority == 'interactive' and id or '')
        if not competing[place] then compete_for(id, job.model, job.tenant, job.priority) end
        competing[place] = true
      end
    end
    return others
  end

  function held.delay(id, delay_s)
    call('ZADD', DELAYED, text(now + delay_s), id)
  end

  -- Jobs whose delay is over, a few at a time.
  function held.take_due()
    local due = call('ZRANGEBYSCORE', DELAYED, 0, text(now), 'LIMIT', 0, 16)
    for _, id in ipairs(due) do call('ZREM', DELAYED, id) end
    return due
  end

  -- The job is held no more, and its tenant may have another one released in its place.
  local function take_out(id, model, tenant)
    if call('ZREM', jobs_of(model, tenant), id) == 1 then
      add_to_count(model, -1)
      leave_if_empty(model, tenant)
    end
  end

  function held.unrelease(id, model, tenant)
    call('ZREM', UNCLAIMED, id)
    if model then call('ZREM', urgent_released_of(model), id) end
    if call('SREM', released_of(tenant), id) == 1 then held.compete(tenant) end
  end

  -- Forget released jobs that have ended, or are gone: each counts against the tenant's cap.
  function held.forget_ended(tenant)
    local forgotten = 0
    for _, id in ipairs(call('SMEMBERS', released_of(tenant))) do
      local job = held.read(id)
      if not job or (job.status ~= 'queued' and job.status ~= 'running') then
        forgotten = forgotten + call('SREM', released_of(tenant), id)
      end
    end
    if forgotten > 0 then held.compete(tenant) end
    return forgotten
  end

  -- Jobs that were released longer ago than this, so many at most, and that no worker has begun. Those are
  -- forgotten of which a script of an earlier version has not said that they were begun, or are gone.
  function held.unclaimed(seconds, count)
    local found = {}
    for _, id in ipairs(call('ZRANGEBYSCORE', UNCLAIMED, 0, text(now - seconds), 'LIMIT', 0, count)) do
      local job = held.read(id)
      if job and job.status == 'queued' and job.model and not held.is_held(id, job.model, job.tenant) then
        found[#found + 1] = id
      else
        call('ZREM', UNCLAIMED, id)
      end
    end
    return found
  end

  -- A worker has begun the job, or nobody may: it waits for no other job's device.
  function held.begin(id)
    local job = held.read(id)
    if job and job.model then remove_urgent(id, job.model, job.tenant) end
  end

  -- Whether an interactive job of the same model may take the device of this batch job: it waits still, may be
  -- released, and the batch job would not have its turn first. Of another tenant only one that was given no more.
  local function may_preempt(id, urgent, job)
    if urgent.status ~= 'queued' or urgent.model ~= job.model then return false end
    if call('ZSCORE', DELAYED, id) then return false end
    if urgent.order and job.order and job.order < urgent.order then return false end
    local is_own = urgent.tenant == job.tenant
    local leaving = is_own and 1 or 0  -- the batch job's place gets free
    if held.is_held(id, job.model, urgent.tenant) and is_at_cap(urgent.tenant, leaving) then return false end
    if is_own then return true end
    local before = number(call('ZSCORE', urgent_released_of(job.model), id))
    return (before or given(job.model, urgent.tenant)) <= given(job.model, job.tenant)
  end

  -- Whether a job gives its device away for this interactive one, or has just done so.
  local function is_served(id, urgent)
    local job = urgent.preempts and held.read(urgent.preempts)
    return job and job.preempted_by == id and (job.status == 'running' or job.status == 'queued')
  end

  local function has_waited(since)
    return since and now - tonumber(since) >= PREEMPT_AFTER_S
  end

  -- Of released interactive jobs one that may preempt this job: of tenants that had been given no more.
  local function find_released(job)
    local released = urgent_released_of(job.model)
    local most_given = text(given(job.model, job.tenant))
    for _, id in ipairs(call('ZRANGEBYSCORE', released, '-inf', most_given, 'LIMIT', 0, MAX_URGENT)) do
      local urgent = held.read(id)
      local jobs = urgent and urgent_jobs_of(job.model, urgent.tenant)
      if not urgent or urgent.status ~= 'queued' then
        call('ZREM', released, id)
      elseif has_waited(call('ZSCORE', jobs, id)) and not is_served(id, urgent)
          and may_preempt(id, urgent, job) then
        return id
      end
    end
    return nil
  end

  -- The oldest interactive job of a tenant for which no device is given away, if it may preempt this job.
  local function find_of_tenant(tenant, job)
    local jobs = urgent_jobs_of(job.model, tenant)
    local oldest = call('ZRANGE', jobs, 0, MAX_URGENT - 1, 'WITHSCORES')
    if #oldest == 0 then call('ZREM', urgent_tenants_of(job.model), tenant) end
    for i = 1, #oldest, 2 do
      if not has_waited(oldest[i + 1]) then return nil end
      local id, urgent = oldest[i], held.read(oldest[i])
      if not urgent or urgent.status ~= 'queued' then
        remove_urgent(id, job.model, tenant)
      elseif not is_served(id, urgent) then
        return may_preempt(id, urgent, job) and id or nil
      end
    end
    return nil
  end

  -- Those that may not take the device because of their tenant's share or cap are not looked at, however many.
  local function find_preempting(job, first_step_at)
    if job.priority ~= 'batch' or not job.model or job.preemptions >= MAX_PREEMPTIONS then return nil end
    if now - number(first_step_at, now) < MIN_RUN_S or job.left < MIN_LEFT then return nil end
    local chosen = job.preempted_by and held.read(job.preempted_by)
    if chosen and may_preempt(job.preempted_by, chosen, job) then return job.preempted_by end
    local found = find_released(job)
    if found then return found end
    local tenants, most_given = urgent_tenants_of(job.model), text(given(job.model, job.tenant))
    for _, tenant in ipairs(call('ZRANGEBYSCORE', tenants, '-inf', most_given, 'LIMIT', 0, MAX_URGENT)) do
      found = find_of_tenant(tenant, job)
      if found then return found end
    end
    return find_of_tenant(job.tenant, job)  -- it may be at its cap
  end

  -- Notes in the record of a running job the interactive one that takes its device, if one does. Returns whether.
  -- Each takes one device at a time: it keeps its right until it is released, also if the other's worker dies.
  function held.note_preemption(id, first_step_at)
    local job = held.read(id)
    local preempting = job and find_preempting(job, first_step_at)
    if not preempting then
      held.keep_device(id)
    elseif preempting ~= job.preempted_by then
      redis.call('HSET', record(id), 'preempted_by', preempting)
      redis.call('HSET', record(preempting), 'preempts', id)
    end
    return preempting ~= nil
  end

  -- The job gives its device to no other one: an interactive job that was to get it may take another one.
  function held.keep_device(id)
    redis.call('HDEL', record(id), 'preempted_by')
  end

  -- The job has ended, or will be deleted.
  function held.drop(id)
    local job = held.read(id)
    if not job then return end
    call('ZREM', DELAYED, id)
    if job.model then
      take_out(id, job.model, job.tenant)
      remove_urgent(id, job.model, job.tenant)
    end
    held.unrelease(id, job.model, job.tenant)
  end

  -- The next job of the model and its tenant; nil if no tenant below its cap has one.
  function held.next(model)
    while true do
      local tenant = call('ZRANGE', tenants_of(model), 0, 0)[1]
      if not tenant then return nil end
      local id = call('ZRANGE', jobs_of(model, tenant), 0, 0)[1]
      if not id then
        leave_if_empty(model, tenant)
      else
        local job = held.read(id)
        if job and job.status == 'queued' then return id, tenant end
        take_out(id, model, tenant)  -- it has expired, or was edited
        remove_urgent(id, model, tenant)
      end
    end
  end

  function held.is_only(id, model, tenant)
    return call('ZCARD', tenants_of(model)) == 1
      and call('ZSCORE', tenants_of(model), tenant) ~= false
      and call('ZCARD', jobs_of(model, tenant)) == 1
      and call('ZSCORE', jobs_of(model, tenant), id) ~= false
  end

  -- The job's tenant is charged for what is left of it. The caller puts its message into a queue.
  function held.release(id, model, tenant)
    local job = held.read(id)
    if not job then return end
    release_urgent(id, model, tenant, charge(model, tenant, job.left_s))
    redis.call('HSET', record(id), 'released_at', text(now), 'charged_s', text(job.charged_s + job.left_s))
    call('SADD', released_of(tenant), id)
    call('ZADD', UNCLAIMED, text(now), id)
    take_out(id, model, tenant)
    if is_at_cap(tenant) then held.compete(tenant) end
  end

  -- Whether a worker may begin the job. Recovery may have taken its message for lost and have held it again, if
  -- the worker was paused: it is released now, or waits for its turn if its tenant has reached its cap meanwhile.
  function held.claim(id)
    local job = held.read(id)
    if job and job.model and held.is_held(id, job.model, job.tenant) then
      if is_at_cap(job.tenant) then return false end
      call('ZREM', DELAYED, id)
      held.release(id, job.model, job.tenant)
    end
    call('ZREM', UNCLAIMED, id)
    held.begin(id)
    return true
  end

  -- How many messages the common queue of a model may hold: one for each worker that takes its jobs.
  function held.window(model)
    local workers = call('ZCOUNT', 'swift:model_workers:' .. model, text(now), '+inf')
    return math.max(workers, 1)
  end

  function held.serve(model, worker, ttl_s)
    local workers = 'swift:model_workers:' .. model
    call('ZREMRANGEBYSCORE', workers, 0, text(now))
    if ttl_s > 0 then
      call('ZADD', workers, text(now + ttl_s), worker)
      redis.call('PEXPIRE', workers, math.ceil(ttl_s * 1000) + 60000)
    else
      call('ZREM', workers, worker)
    end
  end
end
