-- Tell waiting readers that something changed, if anybody listens: only then is the stream there. For scripts that have
-- `events` as second key.
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('XADD', KEYS[2], 'MAXLEN', '~', 64, '*', 'e', 1) end
