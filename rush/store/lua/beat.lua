#!lua flags=allow-oom
-- Renew the heartbeats of a supervisor's workers, and hear what they are told to do. A silence in which nobody's came is
-- noted: the server stood still, or was out of everybody's reach.
--   KEYS[1]  hash  meta
--   KEYS[2]  hash  sessions
--   KEYS[3]  zset  beats
--   KEYS[4]  hash  suspects
--   KEYS[5]  hash  stops: worker to how it is told to stop
--   KEYS[6]  hash  cancels
--   ARGV[1]        epoch
--   ARGV[2..]      worker id, incarnation (0 between two loops of a worker), heartbeat expiry in ms, for each worker
-- Returns {refused, {worker, stop, ...}, {key, worker, ...}, ms until the network's next heartbeat runs out or -1},
-- or nil when the network is another one.
-- include parts/silence
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return false end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
note_pulse(KEYS[1], now)
local refused, stops = {}, {}
local told = redis.call('HLEN', KEYS[5]) > 0
local suspected = redis.call('HLEN', KEYS[4]) > 0
for at = 2, #ARGV, 3 do
  local worker = ARGV[at]
  local current = redis.call('HGET', KEYS[2], worker)
  if current == ARGV[at + 1] or (not current and ARGV[at + 1] == '0') then
    redis.call('ZADD', KEYS[3], 'XX', now + ARGV[at + 2], worker)
    if suspected then redis.call('HDEL', KEYS[4], worker) end
  else
    refused[#refused + 1] = worker
  end
  local stop = told and redis.call('HGET', KEYS[5], worker)
  if stop then
    stops[#stops + 1] = worker
    stops[#stops + 1] = stop
  end
end
local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
local due = -1
if first[2] and first[2] ~= 'inf' then due = math.max(0, math.ceil(first[2] - now)) end
return {refused, stops, redis.call('HGETALL', KEYS[6]), due}
