#!lua flags=allow-oom
-- Finish running tasks with their results.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    running
--   KEYS[3]  hash    cancels
--   KEYS[4]  list    log
--   KEYS[5]  string  ears
--   KEYS[6]  stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          '1' for a manager, who may finish any running task
--   ARGV[4..]        key, attempt or '', packed ys and ys_extra, for each task
-- Returns a byte for each task: 1 if it moved, else 0.
-- include fence
-- include stored
-- include claim
-- include finish
-- include notify
local moved = ''
for at = 4, #ARGV, 3 do
  moved = moved .. finish(KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[3], ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
notify(KEYS[5], KEYS[6])
return moved
