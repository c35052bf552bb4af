#!lua flags=allow-oom
-- Open a session, or resume it after a broken connection: whatever it sent before is refused from now on.
--   KEYS[1]  hash  meta
--   KEYS[2]  hash  sessions: session to incarnation
--   KEYS[3]  hash  ended: worker to how it ended
--   KEYS[4]  hash  running
--   ARGV[1]        session
--   ARGV[2]        epoch that the caller knows, or ''
--   ARGV[3]        epoch to begin, if there is none
-- Returns {'open', epoch, incarnation, keys of the tasks that the session runs}, {'gone', epoch or ''}, {'ended', record},
-- or {'unknown'} for a worker that is not registered: the server has lost that.
-- include parts/epoch
-- include parts/held
local epoch = settle_epoch(KEYS[1], ARGV[2], ARGV[3])
if not epoch then return {'gone', redis.call('HGET', KEYS[1], 'epoch') or ''} end
local record = redis.call('HGET', KEYS[3], ARGV[1])
if record then return {'ended', record} end
if string.byte(ARGV[1]) ~= 126 and redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return {'unknown'} end
local incarnation = redis.call('HINCRBY', KEYS[1], 'incarnation', 1)
local keys = {}
if redis.call('HSET', KEYS[2], ARGV[1], incarnation) == 0 then
  for key in pairs(held(KEYS[4], ARGV[1])) do keys[#keys + 1] = key end
end
return {'open', epoch, tostring(incarnation), keys}
