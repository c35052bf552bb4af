#!lua flags=no-writes,allow-oom
-- Read the unfinished tasks and the length of the log in one step, so that no task is seen twice or missed.
--   KEYS[1]  zset  queue
--   KEYS[2]  hash  queued
--   KEYS[3]  hash  running
--   KEYS[4]  hash  failed
--   KEYS[5]  list  log
--   ARGV[1]        states to read: any of 'q', 'r', 'x'
--   ARGV[2]        '1' for keys only
-- Returns {queued, running, failed, length of the log}: what is stored. The length is -1 if the log is no list.
-- include parts/length
local function values(keys)
  local found = {}
  for first = 1, #keys, 4000 do
    for _, value in ipairs(redis.call('HMGET', KEYS[2], unpack(keys, first, math.min(first + 3999, #keys)))) do
      found[#found + 1] = value or ''
    end
  end
  return found
end
local keys_only = ARGV[2] == '1'
local queued, running, failed = {}, {}, {}
if string.find(ARGV[1], 'q', 1, true) then
  queued = redis.call('ZRANGE', KEYS[1], 0, -1)
  if not keys_only then queued = values(queued) end
end
if string.find(ARGV[1], 'r', 1, true) then
  running = redis.call(keys_only and 'HKEYS' or 'HVALS', KEYS[3])
end
if string.find(ARGV[1], 'x', 1, true) then
  failed = redis.call(keys_only and 'HKEYS' or 'HVALS', KEYS[4])
end
return {queued, running, failed, length(KEYS[5])}
