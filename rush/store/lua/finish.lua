#!lua flags=allow-oom
-- Finish running tasks with their results.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    running
--   KEYS[3]  hash    cancels
--   KEYS[4]  list    log
--   KEYS[5]  hash    index
--   KEYS[6]  string  ears
--   KEYS[7]  stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          '1' for a manager, who may finish any running task
--   ARGV[4..]        key, attempt or '', packed ys and ys_extra, for each task
-- Returns 1 or 0 for each task: whether it moved.
-- include fence
-- include stored
-- include claim
-- include finish
-- include notify
if fenced(KEYS[1], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local moved = {}
for at = 4, #ARGV, 3 do
  moved[#moved + 1] = finish(KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[1], ARGV[3], ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
notify(KEYS[6], KEYS[7])
return moved
