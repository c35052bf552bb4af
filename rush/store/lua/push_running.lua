#!lua
-- Create tasks that the session runs itself.
--   KEYS[1]  hash  meta
--   KEYS[2]  hash  sessions
--   KEYS[3]  hash  running: key to owner and stored task
--   ARGV[1]        session
--   ARGV[2]        incarnation
--   ARGV[3]        '1' if it is to be noted that workers here make their own tasks, else '0'
--   ARGV[4]        head, 15 bytes
--   ARGV[5..]      key, packed key and xs and xs_extra, for each task
-- Returns the number of tasks.
-- include fence
-- include stored
if fenced(KEYS[2], ARGV[1], ARGV[2]) then return {err = 'FENCED'} end
local count = (#ARGV - 4) / 2
local seq = redis.call('HINCRBY', KEYS[1], 'seq', count) - count
if ARGV[3] == '1' then redis.call('HSET', KEYS[1], 'own_tasks', 1) end
local head = run_by(ARGV[1], '') .. ARGV[4]
for i = 1, count do
  redis.call('HSET', KEYS[3], ARGV[2 * i + 3], head .. cmsgpack.pack(seq + i) .. ARGV[2 * i + 4])
end
return count
