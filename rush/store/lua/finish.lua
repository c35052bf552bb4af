#!lua flags=allow-oom
-- Finish running tasks with their results.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    tasks
--   KEYS[3]  hash    running
--   KEYS[4]  set     own
--   KEYS[5]  hash    tries
--   KEYS[6]  hash    cancels
--   KEYS[7]  list    log
--   KEYS[8]  hash    index
--   KEYS[9]  string  ears
--   KEYS[10] stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          '1' for a manager, who may finish any running task
--   ARGV[4..]        key, attempt or '', packed ys and ys_extra, for each task
-- Returns 1 or 0 for each task: whether it moved.
-- include fence
-- include owner
-- include release
-- include finish
-- include notify
if fenced(KEYS[1], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local moved = {}
for at = 4, #ARGV, 3 do
  moved[#moved + 1] = finish(KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8],
    ARGV[1], ARGV[3], ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
notify(KEYS[9], KEYS[10])
return moved
