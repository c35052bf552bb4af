-- Find the tasks that a session runs: key to what stands in `running`.
local function held(running, session)
  local prefix = string.char(#session) .. session
  local found, cursor = {}, '0'
  repeat
    local page = redis.call('HSCAN', running, cursor, 'COUNT', 256)
    for at = 1, #page[2], 2 do
      local value = page[2][at + 1]
      if string.sub(value, 1, #prefix) == prefix then found[page[2][at]] = value end
    end
    cursor = page[1]
  until cursor == '0'
  return found
end
