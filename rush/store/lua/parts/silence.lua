-- Read the last silence that matters: when it ended and how long it was, in ms.
local function read_silence(meta)
  local ended, length = string.match(redis.call('HGET', meta, 'silence') or '', '^(%d+) (%d+)$')
  return tonumber(ended or 0), tonumber(length or 0)
end

-- Note that a heartbeat has come, and for how long none had. A shorter silence does not hide a longer one as long as
-- that one protects anybody.
local function note_pulse(meta, now)
  local last = tonumber(redis.call('HGET', meta, 'pulse') or now)
  local ended, length = read_silence(meta)
  if now - last >= length or now > ended + length then
    redis.call('HSET', meta, 'pulse', now, 'silence', now .. ' ' .. math.max(0, now - last))
  else
    redis.call('HSET', meta, 'pulse', now)
  end
end
