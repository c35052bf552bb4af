#!lua flags=allow-oom
-- Take the oldest queued task.
--   KEYS[1]  hash  sessions
--   KEYS[2]  zset  queue
--   KEYS[3]  hash  tasks
--   KEYS[4]  hash  tries
--   KEYS[5]  hash  running
--   KEYS[6]  set   own
--   KEYS[7]  list  bell
--   ARGV[1]        session
--   ARGV[2]        incarnation
--   ARGV[3]        '1' if the bell woke the caller, who then wakes the next while there is more
-- Returns {key, stored value, tries used, attempt} or nil.
-- include fence
-- include owner
-- include ring
-- include pop
if fenced(KEYS[1], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local task = pop(KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[1], '')
if task and ARGV[3] == '1' and redis.call('ZCARD', KEYS[2]) > 0 then ring(KEYS[7]) end
return task
