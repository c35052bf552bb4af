-- Run a command over many arguments in portions that Lua can unpack. Portions keep pairs together.
local function batch(command, key, arguments)
  for first = 1, #arguments, 4000 do
    redis.call(command, key, unpack(arguments, first, math.min(first + 3999, #arguments)))
  end
end
