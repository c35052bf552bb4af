-- Move the oldest queued task to a session, whose name stands before it in `running` as `stored` says.
--   behind  key of the task that it waits for there, or '' if it begins at once
-- Returns one byte, the number of keys (255 at most) of which the task had vanished, and which were dropped; behind it, if
-- a task was left, its key, 16 bytes, and the stored task.
local function pop(queue, queued, running, session, behind)
  local vanished = 0
  while true do
    local key = redis.call('ZPOPMIN', queue)[1]
    local task = key and redis.call('HGET', queued, key)
    if task then
      redis.call('HSET', running, key, string.char(#session) .. session .. string.char(#behind) .. behind .. task)
      redis.call('HDEL', queued, key)
    end
    if task or not key then return string.char(vanished) .. (key or '') .. (task or '') end
    vanished = math.min(vanished + 1, 255)
  end
end
