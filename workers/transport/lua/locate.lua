-- Where a part of a step is.
-- KEYS: step_token, claims, queue of the ControlNet, sign that the ControlNet is served
-- ARGV: step_token, position of the ControlNet, ticket, prefix of leases
-- queued, or unserved if nobody has taken from the queue lately; claimed by a living worker, abandoned by a
-- dead one; lost: in no queue and in no hands; gone: the server holds no step of
-- the job at all: it has started anew.

local step_token = redis.call('GET', KEYS[1])
if not step_token then return 'gone' end
if step_token ~= ARGV[1] then return 'lost' end
local worker = redis.call('HGET', KEYS[2], ARGV[2])
if worker then
  return redis.call('EXISTS', ARGV[4] .. worker) == 1 and 'claimed' or 'abandoned'
end
if not redis.call('LPOS', KEYS[3], ARGV[3]) then return 'lost' end
return redis.call('EXISTS', KEYS[4]) == 1 and 'queued' or 'unserved'
