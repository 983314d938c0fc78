-- Returns an answer; or deletes it, unless it has changed.
--
-- KEYS  1: the answer
-- ARGV  1: empty; or the answer to delete
local answer = redis.call('GET', KEYS[1]) or ''
if ARGV[1] == '' then return answer end
if answer == ARGV[1] then redis.call('DEL', KEYS[1]) end
return ''
