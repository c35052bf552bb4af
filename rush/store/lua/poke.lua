#!lua flags=allow-oom
-- Wake whoever blocks on these lists, unless the network has become another one.
--   KEYS[1]    hash  meta
--   KEYS[2..]  list  pokes
--   ARGV[1]          epoch
-- Returns nothing.
-- include parts/ring
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return nil end
for at = 2, #KEYS do
  ring(KEYS[at])
  redis.call('EXPIRE', KEYS[at], 60)
end
return nil
