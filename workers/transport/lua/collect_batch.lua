-- Take from a net's queue what can be computed in one pass with a step at hand.
-- KEYS: queue of the ControlNet   ARGV: batch_key, rows that still fit, how far to look, job at hand
-- Returns tickets, oldest first, one a job at most; they are out of the queue, and not claimed yet.
-- (A job that names a ControlNet twice is no company for itself: alone in the fleet, it is exact.)

local room, taken, jobs = tonumber(ARGV[2]), {}, {[ARGV[4]] = true}
for _, ticket in ipairs(redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[3]) - 1)) do
  local is_json, told = pcall(cjson.decode, ticket)
  local fits = is_json and type(told) == 'table' and told.batch_key == ARGV[1]
  if fits and type(told.rows) == 'number' and told.rows <= room and told.job_id and not jobs[told.job_id] then
    jobs[told.job_id] = true
    room = room - told.rows
    redis.call('LREM', KEYS[1], 1, ticket)
    taken[#taken + 1] = ticket
  end
end
return taken
