#!lua flags=allow-oom
-- Cancel tasks: queued and running ones fail at once; loops that run one are marked, to be ended by their supervisors.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    tasks
--   KEYS[3]  hash    running
--   KEYS[4]  set     own (of the caller)
--   KEYS[5]  hash    tries
--   KEYS[6]  hash    cancels: key to the worker that still works on it
--   KEYS[7]  hash    failed
--   KEYS[8]  string  ears
--   KEYS[9]  stream  events
--   KEYS[10] zset    queue
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          packed condition
--   ARGV[4..]        keys
-- Returns {key, worker id or '', ...} of those that were cancelled.
-- include fence
-- include owner
-- include release
-- include fail
-- include notify
if fenced(KEYS[1], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local cancelled = {}
for at = 4, #ARGV do
  local key = ARGV[at]
  local task, owner, try
  if redis.call('ZREM', KEYS[10], key) == 1 then
    task = redis.call('HGET', KEYS[2], key)
    try = read_tries(KEYS[5], key)
    redis.call('HDEL', KEYS[5], key)
    redis.call('HDEL', KEYS[2], key)
  else
    task, owner, try = release(KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[1], '1', key, '')
    if task and string.byte(owner) ~= 126 then redis.call('HSET', KEYS[6], key, owner) end
  end
  if task then
    write_failed(KEYS[7], key, task, try, owner and packed_worker(owner) or '\192', ARGV[3])
    cancelled[#cancelled + 1] = key
    cancelled[#cancelled + 1] = owner or ''
  end
end
if #cancelled > 0 then notify(KEYS[8], KEYS[9]) end
return cancelled
