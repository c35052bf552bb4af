#!lua
-- Create tasks that have already failed.
--   KEYS[1]  hash    sessions
--   KEYS[2]  stream  events
--   KEYS[3]  hash    meta
--   KEYS[4]  hash    failed: key to record
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, packed rest of the record behind seq, for each task
-- Returns the number of tasks.
-- include steps/fence
local count = (#ARGV - 2) / 2
local seq = redis.call('HINCRBY', KEYS[3], 'seq', count) - count
for i = 1, count do
  redis.call('HSET', KEYS[4], ARGV[2 * i + 1], '\153' .. cmsgpack.pack(seq + i) .. ARGV[2 * i + 2])
end
-- include steps/notify
return count
