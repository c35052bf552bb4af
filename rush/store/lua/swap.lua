#!lua flags=allow-oom
-- Change a placement, unless somebody else has changed it since it was read.
--   KEYS[1]  hash  meta
--   KEYS[2]  hash  placements
--   ARGV[1]        epoch
--   ARGV[2]        placement id
--   ARGV[3]        packed placement, as it was read
--   ARGV[4]        packed placement, as it is to be
--   ARGV[5], [6]   id and packed placement of one that comes beside it, if any
-- Returns 1 or 0: whether it was changed; nil when the network is another one.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return false end
if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
if ARGV[5] then redis.call('HSET', KEYS[2], ARGV[5], ARGV[6]) end
return 1
