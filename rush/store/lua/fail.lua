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
-- Returns a byte for each task: 1 if it moved, else 0.
-- include fence
-- include stored
-- include claim
-- include fail
-- include notify
local moved = ''
for at = 4, #ARGV, 3 do
  local key = ARGV[at]
  local value, start, holder, try = claim(KEYS[2], KEYS[3], ARGV[1], ARGV[3], key, ARGV[at + 1])
  if value then
    write_failed(KEYS[4], key, value, start, try, packed_worker(holder), ARGV[at + 2])
    redis.call('HDEL', KEYS[2], key)
  end
  moved = moved .. (value and '\1' or '\0')
end
notify(KEYS[5], KEYS[6])
return moved
