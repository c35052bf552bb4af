-- Append a running task to the log of finished ones, from the inputs that the server already holds.
--   tail  packed outputs and output extras
-- Returns 1 if it moved, else 0.
local function finish(running, cancels, log, index, session, any, key, attempt, tail)
  local task, owner, try = claim(running, cancels, session, any, key, attempt)
  if not task then return 0 end
  local record = '\152' .. string.sub(task, 16) .. cmsgpack.pack(try) .. packed_worker(owner) .. tail
  local length = redis.call('RPUSH', log, record)
  redis.call('HDEL', running, key)
  redis.call('HSET', index, key, length - 1)
  return 1
end
