#!lua flags=allow-oom
-- Cancel tasks: queued and running ones fail at once; loops that run one are marked, to be ended by their supervisors.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    running
--   KEYS[3]  hash    cancels: key to the worker that still works on it
--   KEYS[4]  hash    failed
--   KEYS[5]  string  ears
--   KEYS[6]  stream  events
--   KEYS[7]  hash    queued
--   KEYS[8]  zset    queue
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          packed condition
--   ARGV[4..]        keys
-- Returns {key, worker id or '', ...} of those that were cancelled.
-- include fence
-- include stored
-- include claim
-- include fail
-- include drop
-- include notify
local cancelled = {}
for at = 4, #ARGV do
  local key = ARGV[at]
  local holder = drop(KEYS[8], KEYS[7], KEYS[4], key, ARGV[3]) and ''
  if not holder then
    local value, start, session, try = claim(KEYS[2], KEYS[3], ARGV[1], '1', key, '')
    if value then
      holder = session
      write_failed(KEYS[4], key, value, start, try, packed_worker(holder), ARGV[3])
      redis.call('HDEL', KEYS[2], key)
      if string.byte(holder) ~= 126 then redis.call('HSET', KEYS[3], key, holder) end
    end
  end
  if holder then
    cancelled[#cancelled + 1] = key
    cancelled[#cancelled + 1] = holder
  end
end
if #cancelled > 0 then notify(KEYS[5], KEYS[6]) end
return cancelled
