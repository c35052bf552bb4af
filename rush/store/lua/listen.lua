#!lua
-- Announce a listener, and say where the event stream stands.
--   KEYS[1]  string  ears
--   KEYS[2]  stream  events
--   ARGV[1]          ms for which the caller listens
-- Returns the id of the last event.
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
if last[1] then return last[1][1] end
return '0-0'
