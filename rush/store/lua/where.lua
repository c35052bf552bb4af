#!lua flags=no-writes,allow-oom
-- Say which state each task is in.
--   KEYS[1]  hash  tasks
--   KEYS[2]  hash  running
--   KEYS[3]  hash  index
--   KEYS[4]  list  log
--   KEYS[5]  hash  failed
--   ARGV[1]        '1' to return what is stored, too
--   ARGV[2..]      keys
-- Returns {state, stored} for each key. State is 'q', 'r', 'f', 'x' or ''; stored is the task's value, for a running
-- task {value, owner}, for a finished or failed one its record.
local found = {}
for at = 2, #ARGV do
  local key = ARGV[at]
  local state, stored = '', ''
  local owner = redis.call('HGET', KEYS[2], key)
  local position = not owner and redis.call('HGET', KEYS[3], key)
  if owner then
    state = 'r'
    if ARGV[1] == '1' then stored = {redis.call('HGET', KEYS[1], key) or '', owner} end
  elseif position then
    state = 'f'
    if ARGV[1] == '1' then stored = redis.call('LINDEX', KEYS[4], position) or '' end
  else
    local task = redis.call('HGET', KEYS[1], key)
    local record = not task and redis.call('HGET', KEYS[5], key)
    if task then
      state = 'q'
      if ARGV[1] == '1' then stored = task end
    elseif record then
      state = 'x'
      if ARGV[1] == '1' then stored = record end
    end
  end
  found[#found + 1] = {state, stored}
end
return found
