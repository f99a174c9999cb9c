-- Deliveries of a tenant's webhooks: made from events, taken, settled, sent again. Every change is atomic.
--
-- KEYS: events of jobs, tenants by when their next delivery is due, this tenant's due deliveries
-- ARGV: verb, tenant, now in s, what the keys of its deliveries begin with, then the verb's own
--
--   pending -> delivered | failed -> pending (again)
--
-- A pending delivery is due at the score of its member. Who takes one moves it ahead by a lease: a dispatcher
-- that dies leaves it due again. A delivery that is deleted while it is due is dropped when it is taken.

local events, tenants, due = unpack(KEYS)
local verb, tenant, now, prefix = unpack(ARGV, 1, 4)
local arg = {unpack(ARGV, 5)}

-- The tenant is due when its first delivery is.
local function reschedule()
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', tenants, first[2], tenant)
  else
    redis.call('ZREM', tenants, tenant)
  end
end

if verb == 'add' then
  -- ARGV: entry of the event, ttl s of lists, then of each delivery: list, endpoint, message, event, job, url, payload
  -- A key of the wrong type ends this script: until all is written, the event stays, and the next call goes on.
  if #redis.call('XRANGE', events, arg[1], arg[1]) == 0 then return 0 end  -- another dispatcher was first
  local added = 0
  for i = 3, #arg, 7 do
    local list, endpoint, message, event, job, url, payload = unpack(arg, i, i + 6)
    local member = endpoint .. ':' .. message
    if redis.call('EXISTS', prefix .. member) == 0 then
      redis.call('ZADD', due, now, member)
      redis.call('ZADD', list, now, message)
      redis.call('ZREMRANGEBYSCORE', list, '-inf', now - arg[2])
      redis.call('EXPIRE', list, arg[2])
      redis.call('HSET', prefix .. member, 'endpoint', endpoint, 'message_id', message, 'event', event,
        'job', job, 'url', url, 'payload', payload, 'status', 'pending', 'attempts', 0, 'tries', 0,
        'created_at', now, 'next_attempt_at', now)
      added = added + 1
    end
  end
  reschedule()
  redis.call('XDEL', events, arg[1])
  return added
end

if verb == 'take' then
  -- ARGV: lease s, token. Returns the member and the fields of the delivery that is due for longest, or nothing.
  local taken = {}
  while #taken == 0 do
    local member = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, 1)[1]
    if not member then break end
    if redis.call('TYPE', prefix .. member).ok == 'hash' then
      redis.call('ZADD', due, now + arg[1], member)
      redis.call('HSET', prefix .. member, 'token', arg[2])
      redis.call('HDEL', prefix .. member, 'replayed')
      taken = {member, redis.call('HGETALL', prefix .. member)}
    else
      redis.call('ZREM', due, member)
    end
  end
  reschedule()
  return taken
end

if verb == 'settle' then
  -- ARGV: member, token, status, pause s, ttl s, counts as an attempt, then field value ...
  local member, token, status, pause, ttl, counts = unpack(arg, 1, 6)
  local delivery = prefix .. member
  if redis.call('HGET', delivery, 'token') ~= token then return 'lost' end  -- another dispatcher has it, or did
  local was_replayed = redis.call('HDEL', delivery, 'replayed') == 1
  redis.call('HDEL', delivery, 'token')
  redis.call('HINCRBY', delivery, 'attempts', counts)
  redis.call('HINCRBY', delivery, 'tries', counts)
  if was_replayed and status ~= 'delivered' then  -- what it has failed in counts no more
    status, pause = 'pending', 0
    redis.call('HSET', delivery, 'tries', 0)
  end
  redis.call('HSET', delivery, 'status', status, unpack(arg, 7))
  if status == 'pending' then
    redis.call('HSET', delivery, 'next_attempt_at', now + pause)
    redis.call('ZADD', due, now + pause, member)
  else
    redis.call('HDEL', delivery, 'next_attempt_at')
    redis.call('ZREM', due, member)
    redis.call('EXPIRE', delivery, ttl)
  end
  reschedule()
  return 'settled'
end

if verb == 'fail_unread' then
  -- ARGV: member, ttl s, error. Nothing of the delivery but its key is known to be right: it counts no attempt.
  local delivery = prefix .. arg[1]
  redis.call('HSET', delivery, 'status', 'failed', 'error', arg[3])
  redis.call('HDEL', delivery, 'token', 'next_attempt_at', 'replayed')
  redis.call('EXPIRE', delivery, arg[2])
  redis.call('ZREM', due, arg[1])
  reschedule()
  return 1
end

if verb == 'replay' then
  -- ARGV: members. Each is due now, with all of its tries; one that is being sent is due at the end of that, unless
  -- it is delivered then, or when its lease ends.
  local found = 0
  for _, member in ipairs(arg) do
    local delivery = prefix .. member
    if redis.call('EXISTS', delivery) == 1 then
      found = found + 1
      redis.call('HSET', delivery, 'status', 'pending', 'tries', 0, 'next_attempt_at', now)
      redis.call('PERSIST', delivery)
      if redis.call('HEXISTS', delivery, 'token') == 1 then
        redis.call('HSET', delivery, 'replayed', 1)
      else
        redis.call('ZADD', due, now, member)
      end
    end
  end
  reschedule()
  return found
end

return redis.error_reply('unknown verb ' .. verb)
