#!lua
-- Create tasks that the session runs itself.
--   KEYS[1]  hash  sessions
--   KEYS[2]  hash  meta
--   KEYS[3]  hash  running: key to who runs it and the stored task
--   ARGV[1]        session
--   ARGV[2]        incarnation
--   ARGV[3]        '1' if it is to be noted that workers here make their own tasks, else '0'
--   ARGV[4]        head of a stored task and of its row, 16 bytes
--   ARGV[5..]      key, packed key and xs and xs_extra, for each task
-- Returns the number of tasks.
-- include steps/fence
local count = (#ARGV - 4) / 2
local seq = redis.call('HINCRBY', KEYS[2], 'seq', count) - count
if ARGV[3] == '1' then redis.call('HSET', KEYS[2], 'own_tasks', 1) end
local head = string.char(#ARGV[1]) .. ARGV[1] .. '\0' .. ARGV[4]
for i = 1, count do
  redis.call('HSET', KEYS[3], ARGV[2 * i + 3], head .. cmsgpack.pack(seq + i) .. ARGV[2 * i + 4])
end
return count
