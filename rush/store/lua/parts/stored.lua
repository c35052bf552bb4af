-- A stored task is a head of 15 bytes and its row, an array of 4: the head of that (1 byte), seq and the body. In `running`
-- stands before it who runs it: the length of the session, the session, the length of `behind`, and `behind`: the key of the
-- task of that session which it waits for, or ''.

-- Take a running task apart: its session, where the stored task begins, the tries used, and the known stops suffered.
local function split(value)
  local size = string.byte(value) or 0
  local start = size + (string.byte(value, size + 2) or 0) + 3
  local a, b, c, d = string.byte(value, start + 11, start + 14)
  return string.sub(value, 2, size + 1), start, 256 * (a or 0) + (b or 0), 256 * (c or 0) + (d or 0)
end
