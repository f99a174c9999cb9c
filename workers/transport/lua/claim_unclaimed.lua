-- Claim, for the worker that asks for a step, those of some of its parts that nobody has claimed.
-- A call that is repeated because its reply was lost is answered as the first one: its claims name the call.
-- KEYS: step token, claims, queue of the ControlNet of each part
-- ARGV: step token of the request, claim (CLAIMANT:CALL), ttl in s, the most parts to claim, then for each part: its
--       position, the queued step
-- Returns the positions that were claimed; their entries have left the queues. They need no lease: nobody but the
-- claimant waits for them. A server that knows no request of the job has lost it: then all, as nobody can claim them.

local current = redis.call('GET', KEYS[1])
if current and current ~= ARGV[1] then return {} end
local claimed = {}
for i = 3, #KEYS do
  local position = ARGV[2 * i - 1]
  if redis.call('HGET', KEYS[2], position) == ARGV[2] then claimed[#claimed + 1] = tonumber(position) end
end
if #claimed > 0 then return claimed end
for i = 3, #KEYS do
  local position, entry = ARGV[2 * i - 1], ARGV[2 * i]
  if not current then
    claimed[#claimed + 1] = tonumber(position)
  elseif #claimed < tonumber(ARGV[4]) and redis.call('HSETNX', KEYS[2], position, ARGV[2]) == 1 then
    redis.call('LREM', KEYS[i], -1, entry)  -- it is one of the last: it was queued a moment ago
    redis.call('EXPIRE', KEYS[2], ARGV[3])
    claimed[#claimed + 1] = tonumber(position)
  end
end
return claimed
