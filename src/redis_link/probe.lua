-- Runs each command that the other scripts run, on a key of its own: a user of Redis may be allowed
-- to run some commands, and not others.
--
-- KEYS  1: the key
-- ARGV  1: a value; 2: the milliseconds after which the key expires
-- Returns the value, as it was read
local key = KEYS[1]
-- First a command that a full Redis refuses. After any other write, it would let the script go on.
redis.call('HSET', key, 'f', '1')
redis.call('PEXPIRE', key, ARGV[2])
redis.call('HGETALL', key)
redis.call('HMGET', key, 'f')
redis.call('HDEL', key, 'f')
redis.call('ZADD', key, '1', 'm')
redis.call('ZRANGE', key, '0', '-1')
redis.call('ZRANGEBYSCORE', key, '1', '1')
redis.call('ZCARD', key)
redis.call('ZREMRANGEBYSCORE', key, '2', '3')
redis.call('ZREMRANGEBYRANK', key, '1', '1')
redis.call('ZREM', key, 'm')
redis.call('XADD', key, '*', 'e', '1')
redis.call('TYPE', key)
redis.call('TIME')
redis.call('DEL', key)
redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
redis.call('PTTL', key)
return redis.call('GET', key)
