-- Find the network's epoch, or begin one. Returns the epoch, or nil when the caller's is another one.
--   meta   hash    protocol, epoch, ...
--   known  string  the epoch that the caller has seen, or ''
--   fresh  string  the epoch to begin with, if there is none
local function settle_epoch(meta, known, fresh)
  local epoch = redis.call('HGET', meta, 'epoch')
  if known ~= '' and epoch ~= known then return nil end
  if not epoch then
    epoch = fresh
    redis.call('HSET', meta, 'epoch', epoch, 'protocol', 1)
  end
  redis.call('PERSIST', meta)
  return epoch
end
