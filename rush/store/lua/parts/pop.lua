-- Move the oldest queued task to a session.
--   mark  ' p' while the task waits on the worker behind another, else ''
-- Returns {key, stored value, tries used, attempt} or false.
local function pop(queue, tasks, tries, running, own, session, mark)
  local head = redis.call('ZPOPMIN', queue)
  local key = head[1]
  if not key then return false end
  local used, stops = 0, 0
  if redis.call('HLEN', tries) > 0 then used, stops = read_tries(tries, key) end
  local attempt = used + stops + 1
  redis.call('HSET', running, key, session .. ' ' .. attempt .. mark)
  redis.call('SADD', own, key)
  return {key, redis.call('HGET', tasks, key), used, attempt}
end
