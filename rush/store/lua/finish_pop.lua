#!lua flags=allow-oom
-- Finish a running task and take the oldest queued one, in one step.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    tasks
--   KEYS[3]  hash    running
--   KEYS[4]  set     own
--   KEYS[5]  hash    tries
--   KEYS[6]  hash    cancels
--   KEYS[7]  list    log
--   KEYS[8]  hash    index
--   KEYS[9]  string  ears
--   KEYS[10] stream  events
--   KEYS[11] zset    queue
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3]          key of the task to finish, or '' for none
--   ARGV[4]          its attempt
--   ARGV[5]          packed ys and ys_extra
--   ARGV[6]          ' p' if the task that is taken waits behind another, else ''
--   ARGV[7]          key of the prefetched task that begins now, or ''
-- Returns {1 or 0: whether the task moved, {key, stored value, tries used, attempt} or nil}.
-- include fence
-- include owner
-- include release
-- include finish
-- include notify
-- include pop
if fenced(KEYS[1], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local moved = 0
if ARGV[3] ~= '' then
  moved = finish(KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], ARGV[1], '0', ARGV[3], ARGV[4], ARGV[5])
  notify(KEYS[9], KEYS[10])
end
if ARGV[7] ~= '' then
  local value = redis.call('HGET', KEYS[3], ARGV[7])
  if value and string.sub(value, -2) == ' p' then
    redis.call('HSET', KEYS[3], ARGV[7], string.sub(value, 1, -3))
  end
end
return {moved, pop(KEYS[11], KEYS[2], KEYS[5], KEYS[3], KEYS[4], ARGV[1], ARGV[6])}
