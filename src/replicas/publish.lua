-- Adds an entry to the stream of revocations.
--
-- KEYS  1: the stream
-- ARGV  1: the entry
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'stream' then redis.call('DEL', KEYS[1]) end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', '10000', '*', 'e', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 2592000000)
return 1
