-- Adds an entry to the stream of revocations.
--
-- KEYS  1: the stream
-- ARGV  1: the entry
redis.call('XADD', KEYS[1], 'MAXLEN', '~', '10000', '*', 'e', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 2592000000)
return 1
