#!lua flags=allow-oom
-- Say which state each task is in.
--   KEYS[1]  hash  queued
--   KEYS[2]  hash  running
--   KEYS[3]  hash  failed
--   KEYS[4]  list  log
--   KEYS[5]  hash  index
--   ARGV[1]        '1' to return what is stored, too
--   ARGV[2..]      keys
-- Returns {left, {{state, stored} for each key}}. State is 'q', 'r', 'f', 'x' or ''; stored is the stored task, behind who
-- runs it for a running one, or the record of a finished or failed one. While `left` is above 0, so many records of the log
-- are not indexed yet: a task that was not found may be in one of them, and is to be asked for again.
-- include parts/batch
-- include parts/length
-- include parts/catch_up
local left
local function find(hash, key)
  if ARGV[1] == '1' then return redis.call('HGET', hash, key) end
  return redis.call('HEXISTS', hash, key) == 1 and ''
end
local function finished(key)
  local position = key ~= '' and redis.call('HGET', KEYS[5], key)
  return position and (ARGV[1] == '1' and redis.call('LINDEX', KEYS[4], position) or '')
end
local found = {}
for at = 2, #ARGV do
  local key = ARGV[at]
  local state, stored = 'r', find(KEYS[2], key)
  if not stored then state, stored = 'q', find(KEYS[1], key) end
  if not stored then state, stored = 'x', find(KEYS[3], key) end
  if not stored then state, stored = 'f', finished(key) end
  if not stored and not left then
    left = catch_up(KEYS[4], KEYS[5])
    stored = finished(key)
  end
  found[#found + 1] = stored and {state, stored} or {'', ''}
end
return {left or 0, found}
