-- Availability of UNet workers: which are free, and for which a job is reserved. Every call is atomic. They
-- are reserved by `schedule.lua` of `shared/scheduling`.
--
-- KEYS: sorted set of free workers by the time their registration expires,
--       sorted set of queues with a reserved job by the time of the reservation
-- ARGV: command, then the command's own arguments
--
-- Each worker has a queue of its own for each model, called MODEL_QUEUE@WORKER. Only that worker takes
-- messages from it. As soon as the worker is busy, they are moved to the model's common queue, MODEL_QUEUE.
-- The other keys are derived from KEYS and ARGV: the script needs a single server, not a cluster.

local free, reserved = KEYS[1], KEYS[2]
local command = ARGV[1]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6

-- Read by APIs of version 0.1, which send a reserved job in a second call.
local function busy_key(worker)
  return free .. ':busy:' .. worker
end

local function common_queue(worker_queue)
  return worker_queue:match('^[^@]+')
end

-- Moves all messages of a worker's queue to the front of the common queue, in their order: they are older
-- than what waits there, because a job is only reserved while that queue is empty.
local function release(worker_queue)
  call('ZREM', reserved, worker_queue)
  local moved, message = 0, call('LPOP', worker_queue)
  while message do
    call('RPUSH', common_queue(worker_queue), message)
    moved, message = moved + 1, call('LPOP', worker_queue)
  end
  return moved
end

if command == 'register_busy' then
  -- ARGV: worker, lifetime in seconds, the worker's queues. Also used by a worker that stops.
  -- Returns how many messages were moved to common queues.
  local worker, ttl_s = ARGV[2], ARGV[3]
  call('ZREM', free, worker)
  redis.call('SET', busy_key(worker), 1, 'PX', math.ceil(ttl_s * 1000))
  local moved = 0
  for i = 4, #ARGV do moved = moved + release(ARGV[i]) end
  return moved
end

if command == 'register_free' then
  -- ARGV: worker, lifetime in seconds, its queues of the models whose jobs it takes at once. Returns 1 if the
  -- worker is registered as free, 0 if jobs wait in a common queue of these: it takes one of them next.
  local worker, ttl_s = ARGV[2], ARGV[3]
  redis.call('DEL', busy_key(worker))
  call('ZREMRANGEBYSCORE', free, 0, now)
  for i = 4, #ARGV do
    if call('LLEN', common_queue(ARGV[i])) > 0 then
      call('ZREM', free, worker)
      return 0
    end
  end
  call('ZADD', free, now + ttl_s, worker)
  return 1
end

if command == 'release_expired' then
  -- ARGV: lifetime of a reservation in seconds. A worker that takes no job for so long is dead or blocked.
  -- Returns how many messages were moved to common queues.
  local moved = 0
  for _, worker_queue in ipairs(call('ZRANGEBYSCORE', reserved, 0, now - ARGV[2])) do
    moved = moved + release(worker_queue)
  end
  return moved
end

return redis.error_reply('unknown command ' .. command)
