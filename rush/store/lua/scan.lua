#!lua flags=allow-oom
-- Look for workers whose heartbeat has run out. One is lost at the second sight, a fifth of its expiry after the first,
-- and not within one expiry after the server restarted or failed over, or after a silence of everybody that long.
--   KEYS[1]  hash  meta
--   KEYS[2]  zset  beats
--   KEYS[3]  hash  vitals: worker to heartbeat expiry in ms and token
--   KEYS[4]  hash  suspects: worker to when it was first seen overdue, in ms
--   ARGV[1]        epoch
--   ARGV[2]        least ms between the two sights
--   ARGV[3]        most ms between the two sights
-- Returns {lost workers, ms until the next look at those that are overdue or -1, ms until the next heartbeat that runs out
-- or -1}, or nil when the network is another one.
-- include parts/silence
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return false end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local known = redis.call('HGET', KEYS[1], 'run')
if known and known ~= run then
  redis.call('HSET', KEYS[1], 'since', now)
  redis.call('DEL', KEYS[4])
end
if known ~= run then redis.call('HSET', KEYS[1], 'run', run) end
local since = tonumber(redis.call('HGET', KEYS[1], 'since') or 0)
local silence_end, silence = read_silence(KEYS[1])
local lost, look = {}, -1
local function look_in(ms)
  if look < 0 or ms < look then look = ms end
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 2000)) do
  local vitals = redis.call('HGET', KEYS[3], worker) or '0 '
  local expire = tonumber(string.match(vitals, '^(%d+)')) or 0
  local first = redis.call('HGET', KEYS[4], worker)
  local sight = math.min(math.max(math.floor(expire / 5), tonumber(ARGV[2])), tonumber(ARGV[3]))
  local spared = (silence >= expire and math.max(since, silence_end) or since) + expire
  if now < spared then
    look_in(spared - now)
  elseif not first then
    redis.call('HSET', KEYS[4], worker, now)
    look_in(sight)
  elseif now - first >= sight then
    lost[#lost + 1] = worker
  else
    look_in(first + sight - now)
  end
end
local nearest = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local due = -1
if nearest[2] and nearest[2] ~= 'inf' then due = math.max(0, math.ceil(nearest[2] - now)) end
return {lost, look, due}
