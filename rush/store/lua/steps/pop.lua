-- Move the oldest queued task to the session, whose name stands before it in `running` as `stored` says; behind that stands
-- `behind`, key of the task that it waits for there, or '' if it begins at once.
-- Sets `taken`: one byte, the number of keys (255 at most) of which the task had vanished, and which were dropped; behind it,
-- if a task was left, its key, 16 bytes, and the stored task.
local vanished, key, task = 0, nil, nil
repeat
  key = redis.call('ZPOPMIN', queue)[1]
  task = key and redis.call('HGET', queued, key)
  if key and not task then vanished = math.min(vanished + 1, 255) end
until task or not key
if task then
  redis.call('HSET', running, key, string.char(#ARGV[1]) .. ARGV[1] .. string.char(#behind) .. behind .. task)
  redis.call('HDEL', queued, key)
end
local taken = string.char(vanished) .. (key or '') .. (task or '')
