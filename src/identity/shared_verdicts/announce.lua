-- Adds a message to the stream of refusals.
--
-- KEYS  1: the stream
-- ARGV  1: the message
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'stream' then redis.call('DEL', KEYS[1]) end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', '1000', '*', 'm', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 3600000)
return 1
