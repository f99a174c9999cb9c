-- Where a part of a step is: one of the states of the table in workers/transport/step_queue.py.
-- KEYS: step token, claims, queue of the ControlNet, served sign of the ControlNet
-- ARGV: step token of the request, position of the ControlNet, the queued step, prefix of leases

local step_token = redis.call('GET', KEYS[1])
if not step_token then return 'gone' end
if step_token ~= ARGV[1] then return 'lost' end
local claim = redis.call('HGET', KEYS[2], ARGV[2])
if claim then
  local claimant = string.match(claim, '^[^:]+')
  return redis.call('EXISTS', ARGV[4] .. claimant) == 1 and 'claimed' or 'abandoned'
end
if not redis.call('LPOS', KEYS[3], ARGV[3]) then return 'lost' end
return redis.call('EXISTS', KEYS[4]) == 1 and 'queued' or 'unserved'
