-- Move the oldest queued task to a session.
--   behind  key of the task that it waits for there, or '' if it begins at once
-- Returns {key, stored task} or false. Keys of which the task has vanished are dropped; their number is a third item, and
-- if no other is left the key is ''.
local function pop(queue, queued, running, session, behind)
  local vanished, key, task
  repeat
    key = redis.call('ZPOPMIN', queue)[1]
    if not key then return vanished and {'', '', vanished} or false end
    task = redis.call('HGET', queued, key)
    if not task then vanished = (vanished or 0) + 1 end
  until task
  redis.call('HSET', running, key, run_by(session, behind) .. task)
  redis.call('HDEL', queued, key)
  return {key, task, vanished}
end
