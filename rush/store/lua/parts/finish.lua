-- Append a running task to the log of finished ones, from the inputs that the server already holds.
--   tail  packed outputs and output extras
-- Returns one byte, 1 if it moved, else 0.
local function finish(running, cancels, log, session, any, key, attempt, tail)
  local value, start, holder, try = claim(running, cancels, session, any, key, attempt)
  if not value then return '\0' end
  local record = '\152' .. string.sub(value, start + 16) .. cmsgpack.pack(try) .. packed_worker(holder) .. tail
  redis.call('RPUSH', log, record)
  redis.call('HDEL', running, key)
  return '\1'
end
