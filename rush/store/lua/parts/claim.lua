-- Find out whether the caller may move a running task; who does, deletes it from `running`.
--   attempt  '' stands for the one that the caller runs
--   any      '1': a manager, who may move any running task
-- Returns the stored task, its owner and the number of tries, or nothing.
local function claim(running, cancels, session, any, key, attempt)
  local value = redis.call('HGET', running, key)
  if value then
    local owner, task = split(value)
    local used, stops = read_tries(task)
    if any == '1' or (owner == session and (attempt == '' or tonumber(attempt) == used + stops + 1)) then
      return task, owner, used + 1
    end
  end
  if redis.call('HGET', cancels, key) == session then redis.call('HDEL', cancels, key) end
  return nil
end
