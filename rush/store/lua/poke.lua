#!lua flags=allow-oom
-- Wake whoever blocks on these lists.
--   KEYS[1..]  list  pokes
-- Returns nothing.
-- include ring
for _, key in ipairs(KEYS) do
  ring(key)
  redis.call('EXPIRE', key, 60)
end
return nil
