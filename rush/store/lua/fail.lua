#!lua flags=allow-oom
-- Fail running tasks.
--   KEYS[1]  hash    sessions
--   KEYS[2]  stream  events
--   KEYS[3]  hash    running
--   KEYS[4]  hash    cancels
--   KEYS[5]  hash    failed
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, attempt or '', packed condition, for each task
-- Returns a byte for each task: 1 if it moved, else 0.
-- include steps/fence
-- include parts/stored
-- include parts/fail
local moved = ''
for at = 3, #ARGV, 3 do
  local key, attempt = ARGV[at], ARGV[at + 1]
  -- include steps/claim
  if value then
    write_failed(KEYS[5], key, value, start, used + 1, holder, ARGV[at + 2])
    redis.call('HDEL', KEYS[3], key)
  end
  moved = moved .. (value and '\1' or '\0')
end
-- include steps/notify
return moved
