-- Write a task into the failed ones.
--   task       the task as it is stored
--   worker     packed id of the worker that ran it, or nil packed
--   condition  packed condition
local function write_failed(failed, key, task, try, worker, condition)
  redis.call('HSET', failed, key, '\153' .. string.sub(task, 16) .. cmsgpack.pack(try) .. worker .. '\192\192' .. condition)
end
