#!lua flags=no-writes,allow-oom
-- Say which state each task is in.
--   KEYS[1]  hash  queued
--   KEYS[2]  hash  running
--   KEYS[3]  hash  index
--   KEYS[4]  list  log
--   KEYS[5]  hash  failed
--   ARGV[1]        '1' to return what is stored, too
--   ARGV[2..]      keys
-- Returns {state, stored} for each key. State is 'q', 'r', 'f', 'x' or ''; stored is the stored task, behind its owner for a
-- running one, or the record of a finished or failed one.
local function find(hash, key)
  if ARGV[1] == '1' then return redis.call('HGET', hash, key) end
  return redis.call('HEXISTS', hash, key) == 1 and ''
end
local found = {}
for at = 2, #ARGV do
  local key = ARGV[at]
  local state, stored = 'r', find(KEYS[2], key)
  if not stored then
    local position = redis.call('HGET', KEYS[3], key)
    if position then
      state, stored = 'f', ARGV[1] == '1' and redis.call('LINDEX', KEYS[4], position) or ''
    end
  end
  if not stored then state, stored = 'q', find(KEYS[1], key) end
  if not stored then state, stored = 'x', find(KEYS[5], key) end
  found[#found + 1] = stored and {state, stored} or {'', ''}
end
return found
