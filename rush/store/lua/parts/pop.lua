-- Move the oldest queued task to a session, whose name stands before it in `running` as `stored` says.
--   behind  key of the task that it waits for there, or '' if it begins at once
-- Returns one byte, the number of keys (255 at most) of which the task had vanished, and which were dropped; behind it, if
-- a task was left, its key, 16 bytes, and the stored task.
local function pop(queue, queued, running, session, behind)
  local vanished, key, task = -1
  repeat
    vanished = vanished + 1
    key = redis.call('ZPOPMIN', queue)[1]
    task = key and redis.call('HGET', queued, key)
  until task or not key
  local count = string.char(math.min(vanished, 255))
  if not key then return count end
  redis.call('HSET', running, key, string.char(#session) .. session .. string.char(#behind) .. behind .. task)
  redis.call('HDEL', queued, key)
  return count .. key .. task
end
