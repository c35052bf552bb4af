#!lua
-- Create tasks that the session runs itself. From a worker it also says that workers here make their own tasks.
--   KEYS[1]  hash  meta
--   KEYS[2]  hash  sessions
--   KEYS[3]  hash  tasks
--   KEYS[4]  hash  running: key to owner and attempt
--   KEYS[5]  set   own
--   ARGV[1]        session
--   ARGV[2]        incarnation
--   ARGV[3]        head, 11 bytes
--   ARGV[4..]      key, packed key and xs and xs_extra, for each task
-- Returns the number of tasks.
-- include fence
if fenced(KEYS[2], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local count = (#ARGV - 3) / 2
local seq = redis.call('HINCRBY', KEYS[1], 'seq', count) - count
local owner = ARGV[1] .. ' 1'
if string.byte(ARGV[1]) ~= 126 then redis.call('HSETNX', KEYS[1], 'own_tasks', 1) end
for i = 1, count do
  local key = ARGV[2 * i + 2]
  redis.call('HSET', KEYS[3], key, ARGV[3] .. cmsgpack.pack(seq + i) .. ARGV[2 * i + 3])
  redis.call('HSET', KEYS[4], key, owner)
  redis.call('SADD', KEYS[5], key)
end
return count
