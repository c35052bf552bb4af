-- Bring the index up to the log, by 5,000 records at most: at each result that would be one write more.
--   index  hash  key to position in the log; '' to how many records it covers
-- Returns how many records it does not cover yet.
local function catch_up(log, index)
  local covered, n = tonumber(redis.call('HGET', index, '') or 0), length(log)
  if n < covered then -- the server has lost the log's tail
    redis.call('DEL', index)
    covered = 0
  end
  local records = n > covered and redis.call('LRANGE', log, covered, covered + 4999) or {}
  local entries = {'', covered + #records}
  for at, record in ipairs(records) do
    local readable, _, _, key = pcall(cmsgpack.unpack_limit, record, 2, 1)
    if readable and type(key) == 'string' then
      entries[#entries + 1] = key
      entries[#entries + 1] = covered + at - 1
    end
  end
  batch('HSET', index, entries)
  return n - covered - #records
end
