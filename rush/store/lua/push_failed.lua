#!lua
-- Create tasks that have already failed.
--   KEYS[1]  hash    sessions
--   KEYS[2]  hash    meta
--   KEYS[3]  hash    failed: key to record
--   KEYS[4]  string  ears
--   KEYS[5]  stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, packed rest of the record behind seq, for each task
-- Returns the number of tasks.
-- include fence
-- include notify
local count = (#ARGV - 2) / 2
local seq = redis.call('HINCRBY', KEYS[2], 'seq', count) - count
for i = 1, count do
  redis.call('HSET', KEYS[3], ARGV[2 * i + 1], '\153' .. cmsgpack.pack(seq + i) .. ARGV[2 * i + 2])
end
notify(KEYS[4], KEYS[5])
return count
