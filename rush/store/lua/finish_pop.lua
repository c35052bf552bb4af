#!lua flags=allow-oom
-- Finish a running task and take the oldest queued one, in one step.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    running
--   KEYS[3]  hash    cancels
--   KEYS[4]  list    log
--   KEYS[5]  string  ears
--   KEYS[6]  stream  events
--   KEYS[7]  hash    queued
--   KEYS[8]  zset    queue
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          key of the task to finish, or '' for none
--   ARGV[4]          its attempt
--   ARGV[5]          packed ys and ys_extra
--   ARGV[6]          key of a task that begins now, and behind which the one that is taken waits; else ''
-- Returns what `pop` returns; the first byte is 1 if the task moved, else 0.
-- include fence
-- include stored
-- include claim
-- include finish
-- include notify
-- include pop
local moved = '\0'
if ARGV[3] ~= '' then
  moved = finish(KEYS[2], KEYS[3], KEYS[4], ARGV[1], '0', ARGV[3], ARGV[4], ARGV[5])
  notify(KEYS[5], KEYS[6])
end
return moved .. pop(KEYS[8], KEYS[7], KEYS[2], ARGV[1], ARGV[6])
