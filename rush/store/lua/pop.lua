#!lua flags=allow-oom
-- Take the oldest queued task.
--   KEYS[1]  hash  sessions
--   KEYS[2]  zset  queue
--   KEYS[3]  hash  queued
--   KEYS[4]  hash  running
--   KEYS[5]  list  bell
--   ARGV[1]        session
--   ARGV[2]        incarnation
--   ARGV[3]        '1', or left out: the bell woke the caller, who then wakes the next while there is more
-- Returns a byte that is 0, one for the keys of which the task had vanished, and the task that was taken: key, 16 bytes, and
-- stored task; or the two bytes alone.
-- include steps/fence
local queue, queued, running, behind = KEYS[2], KEYS[3], KEYS[4], ''
-- include steps/pop
if task and ARGV[3] == '1' and redis.call('ZCARD', KEYS[2]) > 0 then
  -- include parts/ring
  ring(KEYS[5])
end
return '\0' .. taken
