-- Who is free, and who has been promised a job. Every change is atomic.
--
-- KEYS: free workers (set by the time until which that is known), promised queues (set by time)
-- ARGV: verb, then the verb's own
--
-- A worker has a queue of its own for each model, MODEL'S QUEUE@WORKER: what lies there is for it alone,
-- and for all as soon as it is busy. (The other keys are named from these: one server, not a cluster.)

local free, promised = KEYS[1], KEYS[2]
local verb = ARGV[1]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6

local function busy(worker)
  return free .. ':busy:' .. worker
end

local function everybodys(own)
  return own:match('^[^@]+')
end

-- To the front, and in their order: a worker was free when they were accepted.
local function give_to_all(own)
  redis.call('ZREM', promised, own)
  local moved, message = 0, redis.call('LPOP', own)
  while message do
    redis.call('RPUSH', everybodys(own), message)
    moved, message = moved + 1, redis.call('LPOP', own)
  end
  return moved
end

if verb == 'take' then
  -- ARGV: worker, for how many seconds, its own queues. It works, or it leaves.
  redis.call('ZREM', free, ARGV[2])
  redis.call('SET', busy(ARGV[2]), 1, 'PX', math.ceil(ARGV[3] * 1000))
  local moved = 0
  for i = 4, #ARGV do moved = moved + give_to_all(ARGV[i]) end
  return moved
end

if verb == 'offer' then
  -- ARGV: worker, for how many seconds, its own queues. Who has work waiting takes that itself, in its turn.
  redis.call('DEL', busy(ARGV[2]))
  redis.call('ZREMRANGEBYSCORE', free, 0, now)
  for i = 4, #ARGV do
    if redis.call('LLEN', everybodys(ARGV[i])) > 0 then
      redis.call('ZREM', free, ARGV[2])
      return 0
    end
  end
  redis.call('ZADD', free, now + ARGV[3], ARGV[2])
  return 1
end

if verb == 'promise' then
  -- ARGV: the model's queue, workers, best first. The first that is free; none while older jobs wait.
  if redis.call('LLEN', ARGV[2]) > 0 then return false end
  for i = 3, #ARGV do
    local till = redis.call('ZSCORE', free, ARGV[i])
    if till and tonumber(till) > now then
      redis.call('ZREM', free, ARGV[i])
      redis.call('ZADD', promised, now, ARGV[2] .. '@' .. ARGV[i])
      return ARGV[i]
    end
  end
  return false
end

if verb == 'settle' then
  -- ARGV: worker, its own queue, in which a message was put. It may have got other work meanwhile.
  if redis.call('EXISTS', busy(ARGV[2])) == 1 then return give_to_all(ARGV[3]) end
  return 0
end

if verb == 'reclaim' then
  -- ARGV: seconds. Promises that were not taken up for so long: the worker is dead, or stuck.
  local moved = 0
  for _, own in ipairs(redis.call('ZRANGEBYSCORE', promised, 0, now - ARGV[2])) do
    moved = moved + give_to_all(own)
  end
  return moved
end

return redis.error_reply('unknown verb ' .. verb)
