#!lua
-- Announce a listener, and say where the event stream stands. A stream that begins wakes those who had listened before.
--   KEYS[1]  stream  events
--   ARGV[1]          ms for which the caller listens
-- Returns the id of the last event.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local id = last and last[1] or redis.call('XADD', KEYS[1], '*', 'e', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return id
