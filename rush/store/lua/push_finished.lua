#!lua
-- Create tasks that are already finished.
--   KEYS[1]  hash    sessions
--   KEYS[2]  stream  events
--   KEYS[3]  hash    meta
--   KEYS[4]  list    log: finished records
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, packed rest of the record behind seq, for each task
-- Returns the number of tasks.
-- include steps/fence
-- include parts/batch
local count = (#ARGV - 2) / 2
local seq = redis.call('HINCRBY', KEYS[3], 'seq', count) - count
local records = {}
for i = 1, count do records[i] = '\152' .. cmsgpack.pack(seq + i) .. ARGV[2 * i + 2] end
batch('RPUSH', KEYS[4], records)
-- include steps/notify
return count
