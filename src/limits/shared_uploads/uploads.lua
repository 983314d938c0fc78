-- Counts the uploads of one caller at all replicas.
--
-- KEYS  1: the caller
-- ARGV  1: enter, renew or leave; 2: the limit; 3: milliseconds for which a place is held; then the
--       ids of the places
-- Returns 1, or 0 if there is no place
--
-- The members are places. The score is the time at which a place ends, unless it is renewed: the
-- places of a replica that died become free.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local what, limit, held = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if what == 'leave' then
  for i = 4, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
  return 1
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
-- A clock that was set back must not hold places for longer.
local last = string.format('(%.0f', now + held)
for _, place in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], last, '+inf')) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + held), place)
end
if what == 'enter' and redis.call('ZCARD', KEYS[1]) >= limit then return 0 end
for i = 4, #ARGV do redis.call('ZADD', KEYS[1], string.format('%.0f', now + held), ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', held))
return 1
