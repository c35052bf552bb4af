-- Tell waiting readers that something changed, if anybody listens.
--   ears    string with expiry  present while somebody listens
--   events  stream              one entry a change; the content does not matter
local function notify(ears, events)
  if redis.call('EXISTS', ears) == 1 then
    redis.call('XADD', events, 'MAXLEN', '~', 64, '*', 'e', 1)
  end
end
