-- A stored task is a head of 15 bytes, seq and the body. In `running` stands before it who runs it: the length of the
-- session, the session, the length of `behind`, and `behind`: the key of the task of that session which it waits for, or ''.
local function run_by(session, behind)
  return string.char(#session) .. session .. string.char(#behind) .. behind
end

-- Take a running task apart: its session, the stored task, and where `behind` begins.
local function split(value)
  local size = string.byte(value) or 0
  local more = string.byte(value, size + 2) or 0
  return string.sub(value, 2, size + 1), string.sub(value, size + more + 3), size + 3
end

-- Read the tries used, and the known stops suffered.
local function read_tries(task)
  local a, b, c, d = string.byte(task, 12, 15)
  return 256 * (a or 0) + (b or 0), 256 * (c or 0) + (d or 0)
end

-- Encode the worker of a record: a manager, whose session begins with '~', leaves nil.
local function packed_worker(session)
  if string.byte(session) == 126 then return '\192' end
  return cmsgpack.pack(session)
end
