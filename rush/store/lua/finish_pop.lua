#!lua flags=allow-oom
-- Finish a running task and take the oldest queued one, in one step.
--   KEYS[1]  hash    sessions
--   KEYS[2]  stream  events
--   KEYS[3]  hash    running
--   KEYS[4]  hash    cancels
--   KEYS[5]  list    log
--   KEYS[6]  hash    queued
--   KEYS[7]  zset    queue
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          key of the task to finish, or '' for none
--   ARGV[4]          its attempt
--   ARGV[5]          packed ys and ys_extra
--   ARGV[6]          key of a task that begins now, and behind which the one that is taken waits; else ''
-- Returns what `pop` returns; the first byte is 1 if the task moved, else 0.
-- include steps/fence
-- include parts/stored
local moved = '\0'
if ARGV[3] ~= '' then
  local key, attempt, tail = ARGV[3], ARGV[4], ARGV[5]
  -- include steps/claim
  if value then
    -- include steps/append
    moved = '\1'
  end
  -- include steps/notify
end
local queue, queued, running, behind = KEYS[7], KEYS[6], KEYS[3], ARGV[6]
-- include steps/pop
return moved .. taken
