#!lua
-- Queue new tasks.
--   KEYS[1]  hash  sessions
--   KEYS[2]  hash  meta
--   KEYS[3]  hash  queued: key to stored task: head, seq, key, xs, xs_extra
--   KEYS[4]  zset  queue: key by order of creation
--   KEYS[5]  list  bell
--   ARGV[1]        session
--   ARGV[2]        incarnation
--   ARGV[3]        head, 15 bytes: born running (1), most tries (2), timeout in s (8, a double), tries used and known
--                  stops suffered (2 each); and the head of the row, an array of 4
--   ARGV[4..]      key, packed key and xs and xs_extra, for each task
-- Returns the number of tasks.
-- include steps/fence
-- include parts/batch
-- include parts/ring
local count = (#ARGV - 3) / 2
local seq = redis.call('HINCRBY', KEYS[2], 'seq', count) - count
local values, scores = {}, {}
for i = 1, count do
  local key = ARGV[2 * i + 2]
  local at = 2 * i - 1
  values[at] = key
  values[at + 1] = ARGV[3] .. cmsgpack.pack(seq + i) .. ARGV[2 * i + 3]
  scores[at] = seq + i
  scores[at + 1] = key
end
batch('HSET', KEYS[3], values)
batch('ZADD', KEYS[4], scores)
ring(KEYS[5])
return count
