#!lua flags=allow-oom
-- Fail queued tasks.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    queued
--   KEYS[3]  zset    queue
--   KEYS[4]  hash    failed
--   KEYS[5]  string  ears
--   KEYS[6]  stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, packed condition, for each task
-- Returns the keys that moved.
-- include fence
-- include stored
-- include fail
-- include drop
-- include notify
local moved = {}
for at = 3, #ARGV, 2 do
  if drop(KEYS[3], KEYS[2], KEYS[4], ARGV[at], ARGV[at + 1]) then moved[#moved + 1] = ARGV[at] end
end
if #moved > 0 then notify(KEYS[5], KEYS[6]) end
return moved
