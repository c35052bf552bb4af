#!lua flags=allow-oom
-- Tell running workers to stop, and wake them and their supervisors.
--   KEYS[1]  hash  meta
--   KEYS[2]  zset  beats
--   KEYS[3]  hash  stops
--   KEYS[4..] list pokes to wake, of workers and supervisors
--   ARGV[1]        epoch
--   ARGV[2]        'terminate' or 'kill'
--   ARGV[3..]      worker ids
-- Returns the workers that are not running, or nil when the network is another one.
-- include parts/ring
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return false end
local missing = {}
for at = 3, #ARGV do
  if not redis.call('ZSCORE', KEYS[2], ARGV[at]) then
    missing[#missing + 1] = ARGV[at]
  elseif redis.call('HGET', KEYS[3], ARGV[at]) ~= 'kill' then
    redis.call('HSET', KEYS[3], ARGV[at], ARGV[2])
  end
end
for at = 4, #KEYS do
  ring(KEYS[at])
  redis.call('EXPIRE', KEYS[at], 60)
end
return missing
