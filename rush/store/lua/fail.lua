#!lua flags=allow-oom
-- Fail running tasks.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    running
--   KEYS[3]  hash    cancels
--   KEYS[4]  hash    failed
--   KEYS[5]  string  ears
--   KEYS[6]  stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          '1' for a manager, who may fail any running task
--   ARGV[4..]        key, attempt or '', packed condition, for each task
-- Returns 1 or 0 for each task: whether it moved.
-- include fence
-- include stored
-- include claim
-- include fail
-- include notify
if fenced(KEYS[1], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local moved = {}
for at = 4, #ARGV, 3 do
  local key = ARGV[at]
  local task, owner, try = claim(KEYS[2], KEYS[3], ARGV[1], ARGV[3], key, ARGV[at + 1])
  if task then
    write_failed(KEYS[4], key, task, try, packed_worker(owner), ARGV[at + 2])
    redis.call('HDEL', KEYS[2], key)
  end
  moved[#moved + 1] = task and 1 or 0
end
notify(KEYS[5], KEYS[6])
return moved
