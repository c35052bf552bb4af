-- Append a running task to the log of finished ones, from the inputs that the server already holds.
--   tail  packed outputs and output extras
-- Returns 1 if it moved, else 0.
local function finish(tasks, running, own, tries, cancels, log, index, session, any, key, attempt, tail)
  local position = redis.call('LLEN', log)
  local task, owner, try = release(tasks, running, own, tries, cancels, session, any, key, attempt)
  if not task then return 0 end
  redis.call('HSET', index, key, position)
  redis.call('RPUSH', log, '\152' .. string.sub(task, 12) .. cmsgpack.pack(try) .. packed_worker(owner) .. tail)
  return 1
end
