#!lua
-- Write fields of a hash, unless the network has become another one.
--   KEYS[1]  hash  meta
--   KEYS[2]  hash  the hash
--   ARGV[1]        epoch
--   ARGV[2..]      field, value, ...
-- Returns 1, or nil when the network is another one.
-- include parts/batch
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return false end
local pairs = {}
for at = 2, #ARGV do pairs[at - 1] = ARGV[at] end
batch('HSET', KEYS[2], pairs)
return 1
