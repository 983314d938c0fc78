-- Returns what is known about a question, and whether the caller is the one to ask it.
--
-- KEYS  1: the refusal of the credential; 2: the answer; 3: the lock
-- ARGV  1: the owner of the lock; 2: its milliseconds; 3: 1 if what is known does not suffice
-- Returns the refusal, the answer (each may be empty), 1 if the lock is the caller's, microseconds
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local refusal, answer = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
local suffices = false
if ARGV[3] ~= '1' then
  for _, value in ipairs({refusal or '', answer or ''}) do
    local fresh = tonumber(string.match(value, '^(%d+) '))
    if fresh and fresh > now then suffices = true end
  end
end
local mine = 0
if not suffices and redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2]) then mine = 1 end
return {refusal or '', answer or '', mine, string.format('%.0f', now)}
