-- Find out whether the caller may move a running task; who does, deletes it from `running`.
--   attempt  '' stands for the one that the caller runs
--   any      '1': a manager, who may move any running task
-- Returns what stands in `running`, where the stored task begins there, its session and the number of the try, or nothing.
local function claim(running, cancels, session, any, key, attempt)
  local value = redis.call('HGET', running, key)
  if value then
    local holder, start, used, stops = split(value)
    if any == '1' or (holder == session and (attempt == '' or tonumber(attempt) == used + stops + 1)) then
      return value, start, holder, used + 1
    end
  end
  if redis.call('HGET', cancels, key) == session then redis.call('HDEL', cancels, key) end
  return nil
end
