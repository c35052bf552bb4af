#!lua
-- Create tasks that are already finished.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    meta
--   KEYS[3]  list    log: finished records
--   KEYS[4]  string  ears
--   KEYS[5]  stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, packed rest of the record behind seq, for each task
-- Returns the number of tasks.
-- include fence
-- include batch
-- include notify
local count = (#ARGV - 2) / 2
local seq = redis.call('HINCRBY', KEYS[2], 'seq', count) - count
local records = {}
for i = 1, count do records[i] = '\152' .. cmsgpack.pack(seq + i) .. ARGV[2 * i + 2] end
batch('RPUSH', KEYS[3], records)
notify(KEYS[4], KEYS[5])
return count
