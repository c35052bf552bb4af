#!lua flags=allow-oom
-- Fail queued tasks.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    tasks
--   KEYS[3]  zset    queue
--   KEYS[4]  hash    tries
--   KEYS[5]  hash    failed
--   KEYS[6]  string  ears
--   KEYS[7]  stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, packed condition, for each task
-- Returns the keys that moved.
-- include fence
-- include owner
-- include fail
-- include notify
if fenced(KEYS[1], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local moved = {}
for at = 3, #ARGV, 2 do
  local key, condition = ARGV[at], ARGV[at + 1]
  local task = redis.call('HGET', KEYS[2], key)
  if task and redis.call('ZREM', KEYS[3], key) == 1 then
    local used = read_tries(KEYS[4], key)
    redis.call('HDEL', KEYS[4], key)
    redis.call('HDEL', KEYS[2], key)
    write_failed(KEYS[5], key, task, used, '\192', condition)
    moved[#moved + 1] = key
  end
end
if #moved > 0 then notify(KEYS[6], KEYS[7]) end
return moved
