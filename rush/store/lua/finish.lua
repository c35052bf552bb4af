#!lua flags=allow-oom
-- Finish running tasks with their results.
--   KEYS[1]  hash    sessions
--   KEYS[2]  stream  events
--   KEYS[3]  hash    running
--   KEYS[4]  hash    cancels
--   KEYS[5]  list    log
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, attempt or '', packed ys and ys_extra, for each task
-- Returns a byte for each task: 1 if it moved, else 0.
-- include steps/fence
-- include parts/stored
local moved = ''
for at = 3, #ARGV, 3 do
  local key, attempt, tail = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  -- include steps/claim
  if value then
    -- include steps/append
  end
  moved = moved .. (value and '\1' or '\0')
end
-- include steps/notify
return moved
