-- Read the value of `running`: session, attempt, and a mark while the task is only prefetched.
local function read_owner(value)
  local session, attempt, mark = string.match(value, '^(%S+) (%d+)(.*)$')
  return session or '~', tonumber(attempt) or 1, mark and mark ~= ''
end

-- Read the value of `tries`: tries used and known stops suffered.
local function read_tries(tries, key)
  local value = redis.call('HGET', tries, key)
  if not value then return 0, 0 end
  local used, stops = string.match(value, '^(%d+) (%d+)$')
  return tonumber(used) or 0, tonumber(stops) or 0
end

-- Encode the worker of a record: a manager, whose session begins with '~', leaves nil.
local function packed_worker(session)
  if string.byte(session) == 126 then return '\192' end
  return cmsgpack.pack(session)
end
