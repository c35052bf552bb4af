#!lua flags=allow-oom
-- Fail queued tasks.
--   KEYS[1]  hash    sessions
--   KEYS[2]  stream  events
--   KEYS[3]  hash    queued
--   KEYS[4]  zset    queue
--   KEYS[5]  hash    failed
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, packed condition, for each task
-- Returns the keys that moved.
-- include steps/fence
-- include parts/stored
-- include parts/fail
-- include parts/drop
local moved = {}
for at = 3, #ARGV, 2 do
  if drop(KEYS[4], KEYS[3], KEYS[5], ARGV[at], ARGV[at + 1]) then moved[#moved + 1] = ARGV[at] end
end
if #moved > 0 then
  -- include steps/notify
end
return moved
