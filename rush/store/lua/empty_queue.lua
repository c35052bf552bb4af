#!lua flags=allow-oom
-- Fail queued tasks.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    queued
--   KEYS[3]  zset    queue
--   KEYS[4]  hash    failed
--   KEYS[5]  string  ears
--   KEYS[6]  stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, packed condition, for each task
-- Returns the keys that moved.
-- include fence
-- include stored
-- include fail
-- include notify
if fenced(KEYS[1], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local moved = {}
for at = 3, #ARGV, 2 do
  local key = ARGV[at]
  local task = redis.call('HGET', KEYS[2], key)
  if task then
    write_failed(KEYS[4], key, task, read_tries(task), '\192', ARGV[at + 1])
    redis.call('ZREM', KEYS[3], key)
    redis.call('HDEL', KEYS[2], key)
    moved[#moved + 1] = key
  end
end
if #moved > 0 then notify(KEYS[5], KEYS[6]) end
return moved
