#!lua flags=allow-oom
-- End a worker: fence it off, and let its running tasks fail or go back to the queue's head.
--   KEYS[1]  hash    sessions
--   KEYS[2]  stream  events
--   KEYS[3]  hash    ended
--   KEYS[4]  zset    beats
--   KEYS[5]  hash    suspects
--   KEYS[6]  hash    stops
--   KEYS[7]  hash    cancels
--   KEYS[8]  hash    queued
--   KEYS[9]  zset    queue
--   KEYS[10] hash    running
--   KEYS[11] hash    failed
--   KEYS[12] list    bell
--   KEYS[13] list    poke (of the worker)
--   KEYS[14] hash    meta
--   ARGV[1]          worker id
--   ARGV[2]          its incarnation; '' if it never registered; 'lost' to bury it if its heartbeat has run out
--   ARGV[3]          packed {state, reason, tail, time}
--   ARGV[4]          '1' if the running tasks pay a try
--   ARGV[5]          the one task that pays, or '' for all
--   ARGV[6]          '1' if a fresh loop takes its place, so that it stays running
--   ARGV[7]          packed condition of tasks that have no try left
--   ARGV[8]          packed condition of tasks that were stopped too often
--   ARGV[9]          most known stops
--   ARGV[10]         epoch
-- Returns {number of tasks queued again, number of tasks failed}, or nil if it is not as the caller thought.
-- include parts/stored
-- include parts/held
-- include parts/fail
-- include parts/ring
local worker, incarnation = ARGV[1], ARGV[2]
if redis.call('HGET', KEYS[14], 'epoch') ~= ARGV[10] then return false end
local current = redis.call('HGET', KEYS[1], worker)
if incarnation == 'lost' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local due = redis.call('ZSCORE', KEYS[4], worker)
  if not due or tonumber(due) > now or redis.call('HEXISTS', KEYS[5], worker) == 0 then return false end
elseif incarnation == '' then
  if current or redis.call('HEXISTS', KEYS[3], worker) == 1 then return false end
elseif current ~= incarnation then
  return false
end

-- Cut out the stored task that begins at `start`, and write the tries used and the known stops into it.
local function with_tries(value, start, used, stops)
  local counts = string.char(math.floor(used / 256), used % 256, math.floor(stops / 256), stops % 256)
  return string.sub(value, start, start + 10) .. counts .. string.sub(value, start + 15)
end

local requeued, lost = 0, 0
local running = held(KEYS[10], worker)
for key, value in pairs(running) do
  local _, start, used, stops = split(value)
  local try = used + 1
  local prefetched = running[string.sub(value, #worker + 3, start - 1)] ~= nil
  local pays = ARGV[4] == '1' and (ARGV[5] == '' or ARGV[5] == key) and not prefetched
  if pays then used = used + 1 else stops = math.min(stops + 1, 65535) end
  local readable, _, seq = pcall(cmsgpack.unpack_one, value, start + 15)
  local born_running = string.byte(value, start) == 1
  local exhausted = not readable or born_running or used >= 256 * string.byte(value, start + 1) + string.byte(value, start + 2)
  if exhausted or (stops >= tonumber(ARGV[9]) and not prefetched) then
    write_failed(KEYS[11], key, value, start, try, worker, exhausted and ARGV[7] or ARGV[8])
    lost = lost + 1
  else
    redis.call('ZADD', KEYS[9], seq, key)
    redis.call('HSET', KEYS[8], key, with_tries(value, start, used, stops))
    requeued = requeued + 1
  end
  redis.call('HDEL', KEYS[10], key)
end
redis.call('HDEL', KEYS[1], worker)
redis.call('HDEL', KEYS[5], worker)
local cancels = redis.call('HGETALL', KEYS[7])
for at = 1, #cancels, 2 do
  if cancels[at + 1] == worker then redis.call('HDEL', KEYS[7], cancels[at]) end
end
if ARGV[6] ~= '1' then
  redis.call('HSET', KEYS[3], worker, ARGV[3])
  redis.call('ZREM', KEYS[4], worker)
  redis.call('HDEL', KEYS[6], worker)
  redis.call('DEL', KEYS[13])
end
if redis.call('ZCARD', KEYS[9]) > 0 then ring(KEYS[12]) end
-- include steps/notify
return {requeued, lost}
