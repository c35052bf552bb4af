-- Take a running task out of its owner's hands, if the caller may.
--   attempt  '' stands for the one that the caller runs
--   any      '1': a manager, who may move any running task
-- Returns the task's stored value, its owner and the number of tries, or nothing.
local function release(tasks, running, own, tries, cancels, session, any, key, attempt)
  local value = redis.call('HGET', running, key)
  local owner, number, allowed
  if value == session .. ' 1' and (attempt == '' or attempt == '1') then
    owner, number, allowed = session, 1, true
  elseif value then
    owner, number = read_owner(value)
    allowed = any == '1' or (owner == session and (attempt == '' or tonumber(attempt) == number))
  end
  local task = allowed and redis.call('HGET', tasks, key)
  if not task then
    if redis.call('HGET', cancels, key) == session then redis.call('HDEL', cancels, key) end
    return nil
  end
  local try = 1
  if number > 1 then
    local used = read_tries(tries, key)
    try = used + 1
    redis.call('HDEL', tries, key)
  end
  redis.call('HDEL', running, key)
  redis.call('HDEL', tasks, key)
  if owner == session then
    redis.call('SREM', own, key)
  else
    redis.call('SREM', string.sub(own, 1, #own - #session) .. owner, key)
  end
  return task, owner, try
end
