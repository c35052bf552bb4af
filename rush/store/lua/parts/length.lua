-- Give the length of the log; -1 if somebody has put something else there, so that the rest can still be read.
local function length(log)
  local n = redis.pcall('LLEN', log)
  return type(n) == 'number' and n or -1
end
