#!lua flags=allow-oom
-- Take the oldest queued task.
--   KEYS[1]  hash  sessions
--   KEYS[2]  zset  queue
--   KEYS[3]  hash  queued
--   KEYS[4]  hash  running
--   KEYS[5]  list  bell
--   ARGV[1]        session
--   ARGV[2]        incarnation
--   ARGV[3]        '1' if the bell woke the caller, who then wakes the next while there is more
-- Returns {key, stored task} or nil.
-- include fence
-- include stored
-- include ring
-- include pop
if fenced(KEYS[1], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local task = pop(KEYS[2], KEYS[3], KEYS[4], ARGV[1], '')
if task and ARGV[3] == '1' and redis.call('ZCARD', KEYS[2]) > 0 then ring(KEYS[5]) end
return task
