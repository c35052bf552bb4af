-- Write a task into the failed ones.
--   value      holds the stored task, from `start` on
--   session    that ran it; a manager's, which begins with '~', leaves nil in the record
--   condition  packed condition
local function write_failed(failed, key, value, start, try, session, condition)
  local worker = string.byte(session) == 126 and '\192' or cmsgpack.pack(session)
  local record = '\153' .. string.sub(value, start + 16) .. cmsgpack.pack(try) .. worker .. '\192\192' .. condition
  redis.call('HSET', failed, key, record)
end
