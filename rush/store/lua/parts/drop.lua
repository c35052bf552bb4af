-- Fail a queued task.
--   condition  packed condition
-- Returns whether it was queued.
local function drop(queue, queued, failed, key, condition)
  local task = redis.call('HGET', queued, key)
  if not task then return false end
  local a, b = string.byte(task, 12, 13)
  write_failed(failed, key, task, 1, 256 * (a or 0) + (b or 0), '~', condition)
  redis.call('ZREM', queue, key)
  redis.call('HDEL', queued, key)
  return true
end
