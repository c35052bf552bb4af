-- Append the task that was claimed to the log of finished ones, from the inputs that the server already holds, with its
-- packed outputs and output extras, `tail`. For scripts with `running` as third key, and `log` as fifth.
local worker = string.byte(holder) == 126 and '\192' or cmsgpack.pack(holder)
local record = '\152' .. string.sub(value, start + 16) .. cmsgpack.pack(used + 1) .. worker .. tail
redis.call('RPUSH', KEYS[5], record)
redis.call('HDEL', KEYS[3], key)
