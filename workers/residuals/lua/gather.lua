-- Take from a net's queue what can be computed in one pass with a step at hand.
-- KEYS: queue of the net   ARGV: stack, rows that still fit, how far to look
-- Returns tickets, oldest first; they are out of the queue, and not claimed yet.

local room, taken = tonumber(ARGV[2]), {}
for _, ticket in ipairs(redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[3]) - 1)) do
  local told = cjson.decode(ticket)
  if told.stack == ARGV[1] and told.rows <= room then
    room = room - told.rows
    redis.call('LREM', KEYS[1], 1, ticket)
    taken[#taken + 1] = ticket
  end
end
return taken
