-- Counts wrong credentials that one provider was asked about.
--
-- KEYS  1: the provider
-- ARGV  1: reserve, wrong or none; 2: the id of the place; 3: places; 4: microseconds of the window
-- Returns for reserve: {1} a place is reserved; {3} questions under way hold the last places;
--       {0, wait} failures hold all places for these microseconds
--
-- The members are places: `f` and the id of a failure, `h` and the id of a question under way. The
-- score is the time at which it ends.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local what, id, count, window = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
-- From before the clock was set back.
local latest = now + math.max(window, 30000000) + 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('%.0f', latest), '+inf')
local reply = {1, 0}
if what == 'reserve' then
  local places = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  local taken, failures, first = 0, 0, nil
  for i = 1, #places, 2 do
    taken = taken + 1
    if string.sub(places[i], 1, 1) == 'f' then
      failures = failures + 1
      first = first or tonumber(places[i + 1])
    end
  end
  if failures >= count then
    return {0, string.format('%.0f', first and first - now or window)}
  end
  if taken >= count then return {3, 0} end
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + 30000000), 'h' .. id)
else
  redis.call('ZREM', KEYS[1], 'h' .. id)
  if what == 'wrong' then
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + window), 'f' .. id)
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - math.max(1000, count))
  end
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(30000, math.ceil(window / 1000))))
return reply
