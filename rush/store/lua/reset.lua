#!lua flags=allow-oom
-- Forget all tasks, and with them all workers or not, in one step.
--   KEYS[1]  hash    meta
--   KEYS[2]  stream  events
--   KEYS[3]  hash    workers
--   KEYS[4..12]      queued, queue, running, log, index, failed, bell, cancels, user
--   KEYS[13..]       sessions, ended, beats, vitals, suspects, stops, loops, logs, placements
--   ARGV[1]          epoch that the caller knows
--   ARGV[2]          epoch to begin, or '' to keep the workers
--   ARGV[3]          prefix of the network's keys
--   ARGV[4]          seconds for which the epoch is remembered
-- Returns 1, or nil when the network is another one.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return false end
for at = 4, 12 do redis.call('DEL', KEYS[at]) end
-- include steps/notify
if ARGV[2] == '' then return 1 end
local workers = redis.call('HGETALL', KEYS[3])
for at = 1, #workers, 2 do
  redis.call('DEL', ARGV[3] .. 'poke:' .. workers[at])
  local readable, info = pcall(cmsgpack.unpack, workers[at + 1])
  local supervisor = readable and type(info) == 'table' and info.supervisor
  if type(supervisor) == 'string' then redis.call('DEL', ARGV[3] .. 'poke:' .. supervisor) end
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
for at = 13, #KEYS do redis.call('DEL', KEYS[at]) end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'protocol', 1)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
