-- Where a part of a step is.
-- KEYS: turn, claims, queue of the net
-- ARGV: turn, position of the net, ticket, prefix of leases
-- queued; claimed by a living worker; abandoned by a dead one; lost: in no queue and in no hands.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lost' end
local worker = redis.call('HGET', KEYS[2], ARGV[2])
if worker then
  return redis.call('EXISTS', ARGV[4] .. worker) == 1 and 'claimed' or 'abandoned'
end
return redis.call('LPOS', KEYS[3], ARGV[3]) and 'queued' or 'lost'
