#!lua
-- Append log records, unless the network has become another one.
--   KEYS[1]  hash  meta
--   KEYS[2]  list  logs
--   ARGV[1]        epoch
--   ARGV[2..]      packed records
-- Returns 1, or nil when the network is another one.
-- include parts/batch
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return false end
local records = {}
for at = 2, #ARGV do records[at - 1] = ARGV[at] end
batch('RPUSH', KEYS[2], records)
return 1
