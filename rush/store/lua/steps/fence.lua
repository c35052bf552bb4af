-- Refuse a call whose session has been taken over, ended or forgotten since it was sent. For scripts that have `sessions` as
-- first key, and session and incarnation as first arguments.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return {err = 'FENCED'} end
