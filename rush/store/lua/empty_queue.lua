#!lua flags=allow-oom
-- Fail queued tasks: the named ones, or the oldest.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    tasks
--   KEYS[3]  zset    queue
--   KEYS[4]  hash    tries
--   KEYS[5]  hash    failed
--   KEYS[6]  string  ears
--   KEYS[7]  stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          how many of the oldest, if none is named
--   ARGV[4]          packed condition of those
--   ARGV[5..]        key, packed condition, for each named task
-- Returns the keys that moved.
-- include fence
-- include owner
-- include fail
-- include notify
if fenced(KEYS[1], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local wanted = {}
if #ARGV == 4 then
  for _, key in ipairs(redis.call('ZRANGE', KEYS[3], 0, ARGV[3] - 1)) do
    wanted[#wanted + 1] = {key, ARGV[4]}
  end
else
  for at = 5, #ARGV, 2 do
    wanted[#wanted + 1] = {ARGV[at], ARGV[at + 1]}
  end
end
local moved = {}
for _, pair in ipairs(wanted) do
  local key, condition = pair[1], pair[2]
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
