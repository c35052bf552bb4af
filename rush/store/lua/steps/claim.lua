-- Find out whether the caller may move the running task `key` in its try `attempt`, '' for the one that the caller runs; a
-- manager, whose session begins with '~', may move any. For scripts with `running` as third key, and `cancels` as fourth.
-- Sets `value`, what stands in `running`, or nil if not; and `holder`, `start` and `used` as `split` gives them.
local value = redis.call('HGET', KEYS[3], key)
local holder, start, used, stops
if value then
  holder, start, used, stops = split(value)
  local own = holder == ARGV[1] and (attempt == '' or tonumber(attempt) == used + stops + 1)
  if not own and string.byte(ARGV[1]) ~= 126 then value = nil end
end
if not value and redis.call('HGET', KEYS[4], key) == ARGV[1] then redis.call('HDEL', KEYS[4], key) end
