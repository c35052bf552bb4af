#!lua flags=allow-oom
-- Open a session, or resume it after a broken connection: whatever it sent before is refused from now on.
--   KEYS[1]  hash  meta
--   KEYS[2]  hash  sessions: session to incarnation
--   KEYS[3]  hash  ended: worker to how it ended
--   KEYS[4]  set   own: tasks that the session runs
--   KEYS[5]  hash  running: key to owner and attempt
--   ARGV[1]        session
--   ARGV[2]        epoch that the caller knows, or ''
--   ARGV[3]        epoch to begin, if there is none
-- Returns {'open', epoch, incarnation, {key, running value, ...}}, {'gone', epoch or ''}, {'ended', record}, or
-- {'unknown'} for a worker that is not registered: the server has lost that.
-- include epoch
local epoch = settle_epoch(KEYS[1], ARGV[2], ARGV[3])
if not epoch then return {'gone', redis.call('HGET', KEYS[1], 'epoch') or ''} end
local record = redis.call('HGET', KEYS[3], ARGV[1])
if record then return {'ended', record} end
if string.byte(ARGV[1]) ~= 126 and redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return {'unknown'} end
local incarnation = redis.call('HINCRBY', KEYS[1], 'incarnation', 1)
redis.call('HSET', KEYS[2], ARGV[1], incarnation)
local held = {}
for _, key in ipairs(redis.call('SMEMBERS', KEYS[4])) do
  held[#held + 1] = key
  held[#held + 1] = redis.call('HGET', KEYS[5], key) or ''
end
return {'open', epoch, tostring(incarnation), held}
