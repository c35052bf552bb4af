#!lua flags=allow-oom
-- Register a worker, new or again under its id, and make it running.
--   KEYS[1]  hash    sessions
--   KEYS[2]  stream  events
--   KEYS[3]  hash    meta
--   KEYS[4]  hash    workers: worker to its packed description
--   KEYS[5]  hash    ended
--   KEYS[6]  zset    beats: running worker by when its heartbeat runs out, in ms
--   KEYS[7]  hash    vitals: worker to heartbeat expiry in ms and token
--   KEYS[8]  hash    suspects
--   KEYS[9]  hash    stops
--   ARGV[1]          worker id
--   ARGV[2]          token, which the same worker shows again
--   ARGV[3]          packed description
--   ARGV[4]          heartbeat expiry in ms, 0 for no heartbeat
--   ARGV[5]          epoch that the caller knows, or ''
--   ARGV[6]          epoch to begin, if there is none
-- Returns {'open', epoch, incarnation, {}}, {'gone', epoch or ''} or {'taken'}.
-- include parts/epoch
local epoch = settle_epoch(KEYS[3], ARGV[5], ARGV[6])
if not epoch then return {'gone', redis.call('HGET', KEYS[3], 'epoch') or ''} end
local worker = ARGV[1]
local vitals = ARGV[4] .. ' ' .. ARGV[2]
if redis.call('ZSCORE', KEYS[6], worker) then
  local token = string.match(redis.call('HGET', KEYS[7], worker) or '', ' (.*)$')
  if token ~= ARGV[2] then return {'taken'} end
else
  redis.call('HDEL', KEYS[9], worker)
end
local incarnation = redis.call('HINCRBY', KEYS[3], 'incarnation', 1)
local due = 'inf'
if ARGV[4] ~= '0' then
  local time = redis.call('TIME')
  due = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4]
end
redis.call('HSET', KEYS[1], worker, incarnation)
redis.call('HSET', KEYS[4], worker, ARGV[3])
redis.call('HDEL', KEYS[5], worker)
redis.call('ZADD', KEYS[6], due, worker)
redis.call('HSET', KEYS[7], worker, vitals)
redis.call('HDEL', KEYS[8], worker)
-- include steps/notify
return {'open', epoch, tostring(incarnation), {}}
