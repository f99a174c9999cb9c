-- Calls a command on a key whose type is ours to choose. Put before scripts that call it.
--
-- By another client's mistake, or of another version, a value of another type may lie there: it is dropped, and
-- the server's log tells, as one wrong key must not stop the jobs of all. What the key held is lost already.
-- Not for records of jobs and tenants, which are read as if they were not there.

local function call(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then
    local kind = redis.call('TYPE', key).ok
    redis.log(redis.LOG_WARNING, 'swiftdiffusion: dropped ' .. key .. ', which had the wrong type ' .. kind)
    redis.call('DEL', key)
  end
  return redis.call(command, key, ...)  -- raises any other error
end

