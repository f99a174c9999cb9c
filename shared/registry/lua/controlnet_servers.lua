-- Which workers would take steps of which ControlNets now. Every set has workers by when their registration
-- expires, by the clock of this server: those of workers may differ.

local command = ARGV[1]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6

if command == 'register' then
  -- KEYS: sets that the worker shall be in, then sets that it leaves. ARGV: the worker, the registration's
  -- lifetime in seconds, how many of the sets come first.
  local worker, ttl_s, count = ARGV[2], ARGV[3], tonumber(ARGV[4])
  local ttl_ms = math.ceil(ttl_s * 1000)
  for i, servers in ipairs(KEYS) do
    call('ZREMRANGEBYSCORE', servers, 0, now)
    if i <= count then
      call('ZADD', servers, now + ttl_s, worker)
      if redis.call('PTTL', servers) < ttl_ms then redis.call('PEXPIRE', servers, ttl_ms) end
    else
      call('ZREM', servers, worker)
    end
  end
  return redis.status_reply('OK')
end

if command == 'are_served' then
  -- Returns for each of KEYS 1 if some worker is in it, else 0: its size costs nothing.
  local found = {}
  for i, servers in ipairs(KEYS) do
    found[i] = #call('ZRANGEBYSCORE', servers, now, '+inf', 'LIMIT', 0, 1)
  end
  return found
end

return redis.error_reply('unknown command ' .. command)
