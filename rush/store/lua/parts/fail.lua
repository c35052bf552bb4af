-- Write a task into the failed ones.
--   value      holds the stored task, from `start` on
--   worker     packed id of the worker that ran it, or nil packed
--   condition  packed condition
local function write_failed(failed, key, value, start, try, worker, condition)
  local record = '\153' .. string.sub(value, start + 16) .. cmsgpack.pack(try) .. worker .. '\192\192' .. condition
  redis.call('HSET', failed, key, record)
end
