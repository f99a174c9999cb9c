-- Take from a ControlNet's queue the steps that can share the forward pass of a step that was taken already.
-- KEYS: queue of the ControlNet
-- ARGV: batch key, rows that may be added, how many queued steps to look at, job of the step taken already
-- Returns queued steps, oldest first, at most one of each job; they have left the queue and are not claimed yet.
-- (Two parts of one job never share a pass: a job that is alone in the fleet must get exact residuals.)

local extra_rows, taken, jobs = tonumber(ARGV[2]), {}, {[ARGV[4]] = true}
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[3]) - 1)) do
  local is_json, step = pcall(cjson.decode, entry)
  local fits = is_json and type(step) == 'table' and step.batch_key == ARGV[1]
    and type(step.rows) == 'number' and step.rows <= extra_rows
  if fits and step.job_id and not jobs[step.job_id] then
    jobs[step.job_id] = true
    extra_rows = extra_rows - step.rows
    redis.call('LREM', KEYS[1], 1, entry)
    taken[#taken + 1] = entry
  end
end
return taken
