#!lua flags=no-writes,allow-oom
-- Count tasks and workers in one step.
--   KEYS[1]  zset  queue
--   KEYS[2]  hash  running
--   KEYS[3]  list  log
--   KEYS[4]  hash  failed
--   KEYS[5]  hash  workers
--   KEYS[6]  zset  beats
-- Returns {queued, running, finished, failed, workers, running workers}; finished is -1 if the log is no list.
-- include parts/length
return {
  redis.call('ZCARD', KEYS[1]), redis.call('HLEN', KEYS[2]), length(KEYS[3]), redis.call('HLEN', KEYS[4]),
  redis.call('HLEN', KEYS[5]), redis.call('ZCARD', KEYS[6]),
}
