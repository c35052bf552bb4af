#!lua
-- Create tasks that are already finished.
--   KEYS[1]  hash    meta
--   KEYS[2]  hash    sessions
--   KEYS[3]  list    log: finished records
--   KEYS[4]  hash    index: key to position in the log
--   KEYS[5]  string  ears
--   KEYS[6]  stream  events
--   ARGV[1]          session
--   ARGV[2]          incarnation
--   ARGV[3..]        key, packed rest of the record behind seq, for each task
-- Returns the number of tasks.
-- include fence
-- include notify
if fenced(KEYS[2], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local count = (#ARGV - 2) / 2
local seq = redis.call('HINCRBY', KEYS[1], 'seq', count) - count
for i = 1, count do
  local record = '\152' .. cmsgpack.pack(seq + i) .. ARGV[2 * i + 2]
  redis.call('HSET', KEYS[4], ARGV[2 * i + 1], redis.call('RPUSH', KEYS[3], record) - 1)
end
notify(KEYS[5], KEYS[6])
return count
