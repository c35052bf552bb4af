#!lua flags=allow-oom
-- Cancel tasks: queued and running ones fail at once; loops that run one are marked, to be ended by their supervisors.
--   KEYS[1]  hash    sessions
--   KEYS[2]  stream  events
--   KEYS[3]  hash    running
--   KEYS[4]  hash    cancels: key to the worker that still works on it
--   KEYS[5]  hash    failed
--   KEYS[6]  hash    queued
--   KEYS[7]  zset    queue
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          packed condition
--   ARGV[4..]        keys
-- Returns {key, worker id or '', ...} of those that were cancelled.
-- include steps/fence
-- include parts/stored
-- include parts/fail
-- include parts/drop
local cancelled = {}
for at = 4, #ARGV do
  local key = ARGV[at]
  local holder = drop(KEYS[7], KEYS[6], KEYS[5], key, ARGV[3]) and ''
  local value = not holder and redis.call('HGET', KEYS[3], key)
  if value then
    local start, used
    holder, start, used = split(value)
    write_failed(KEYS[5], key, value, start, used + 1, holder, ARGV[3])
    redis.call('HDEL', KEYS[3], key)
    if string.byte(holder) ~= 126 then redis.call('HSET', KEYS[4], key, holder) end
  end
  if holder then
    cancelled[#cancelled + 1] = key
    cancelled[#cancelled + 1] = holder
  end
end
if #cancelled > 0 then
  -- include steps/notify
end
return cancelled
