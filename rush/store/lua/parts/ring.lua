-- Wake one waiting worker; the bell holds at most one token.
local function ring(bell)
  if redis.call('LLEN', bell) == 0 then
    redis.call('LPUSH', bell, 1)
  end
end
