-- Move the oldest queued task to a session.
--   mark  ' p' while the task waits on the worker behind another, else ''
-- Returns {key, stored value, tries used, attempt} or false. Keys of which the task has vanished are dropped; their
-- number is a fifth item, and if no other is left the key is ''.
local function pop(queue, tasks, tries, running, own, session, mark)
  local vanished, key, task
  repeat
    key = redis.call('ZPOPMIN', queue)[1]
    if not key then return vanished and {'', '', 0, 0, vanished} or false end
    task = redis.call('HGET', tasks, key)
    if not task then vanished = (vanished or 0) + 1 end
  until task
  local used, stops = 0, 0
  if redis.call('HLEN', tries) > 0 then used, stops = read_tries(tries, key) end
  local attempt = used + stops + 1
  redis.call('HSET', running, key, session .. ' ' .. attempt .. mark)
  redis.call('SADD', own, key)
  return {key, task, used, attempt, vanished}
end
