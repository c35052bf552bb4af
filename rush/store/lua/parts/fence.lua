-- Refuse a call whose session has been taken over, ended or forgotten since it was sent.
--   sessions  hash  session to incarnation
local function fenced(sessions, session, incarnation)
  return redis.call('HGET', sessions, session) ~= incarnation
end
