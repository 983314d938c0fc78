-- Keeps what a replica says of itself, and returns what all of them say.
--
-- KEYS  1: the clock; 2: the replicas; 3: the epoch
-- ARGV  1: id of the replica; 2: its beat (empty: it leaves); 3: an epoch, used if there is none
-- Returns the time in microseconds, the epoch, and for each replica its id, the milliseconds since
-- its beat, and the beat
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- The clock of limits goes on with each beat: see the script of limits.
local clock = redis.pcall('HMGET', KEYS[1], 'v', 't')
if clock.err then
  redis.call('DEL', KEYS[1])
  clock = {}
end
-- What no script has written counts as 0. NaN is not equal to itself.
local function number(text)
  local value = tonumber(text or 0)
  return value and value == value and math.abs(value) < 9e15 and value or 0
end
local passed = clock[2] and now - number(clock[2]) or 0
local v = math.max(0, number(clock[1])) + math.max(0, math.min(passed, 3000000))
redis.call('HSET', KEYS[1], 'v', string.format('%.0f', v), 't', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], 86400000)

for _, key in ipairs({KEYS[2], KEYS[3]}) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= (key == KEYS[2] and 'hash' or 'string') then redis.call('DEL', key) end
end
redis.call('SET', KEYS[3], ARGV[3], 'NX')
redis.call('PEXPIRE', KEYS[3], 2592000000)
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', v) .. ' ' .. ARGV[2])
  redis.call('PEXPIRE', KEYS[2], 86400000)
end
local reply = {string.format('%.0f', now), redis.call('GET', KEYS[3])}
local fields = redis.call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
  local at, beat = string.match(fields[i + 1], '^(%d+) (.*)$')
  local age = at and (v - tonumber(at)) / 1000
  -- A replica that is silent for 30 s is gone. A beat from the future is one from before the clock
  -- was lost.
  if not age or age > 30000 or age < 0 then
    redis.call('HDEL', KEYS[2], fields[i])
  else
    reply[#reply + 1] = fields[i]
    reply[#reply + 1] = string.format('%.0f', age)
    reply[#reply + 1] = beat
  end
end
return reply
