-- Counts wrong credentials by address.
--
-- KEYS  1: the address; 2: the address with the credential
-- ARGV  1: reserve; good, wrong or none (what became of a reserved place); renew, refused or forget
--       (of a credential that was known to be good); 2: nanoseconds a place; 3: places
-- Returns for reserve: {1} a place is reserved; {2, time} the credential is known to be good since
--       this Unix time in microseconds; {3, wait} questions under way hold the last places;
--       {0, wait} there is no place for these microseconds
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local what, interval, burst = ARGV[1], tonumber(ARGV[2]) / 1000, tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'paid', 'held', 'at')
local paid, held = math.max(tonumber(kept[1]) or now, now), tonumber(kept[2]) or 0
-- A replica may have died with places that it held: no question takes as long as this.
local at = tonumber(kept[3]) or now
if now - at > 30000000 then held = 0 end
-- A clock that was set back must not lock anybody out for longer than all places take.
paid = math.min(paid, now + interval * burst)

local function keep()
  held = math.max(0, held)
  if paid <= now and held == 0 then
    redis.call('DEL', KEYS[1])
  else
    redis.call('HSET', KEYS[1], 'paid', string.format('%.0f', paid), 'held', held,
      'at', string.format('%.0f', at))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((paid - now) / 1000) + 30000))
  end
end

if what == 'reserve' then
  local good = redis.call('GET', KEYS[2])
  if good then return {2, good} end
  local wait = paid + interval - now - interval * burst
  if wait > 0 then return {held > 0 and 3 or 0, string.format('%.0f', wait)} end
  paid, held, at = paid + interval, held + 1, now
  keep()
  return {1, 0}
end
if what == 'good' or what == 'renew' then
  redis.call('SET', KEYS[2], string.format('%.0f', now), 'PX', 86400000)
end
if what == 'wrong' or what == 'refused' or what == 'forget' then redis.call('DEL', KEYS[2]) end
if what == 'good' or what == 'none' then paid = paid - interval end
if what == 'refused' then paid = math.min(paid + interval, now + interval * burst) end
if what == 'good' or what == 'none' or what == 'wrong' then held = held - 1 end
if what ~= 'renew' and what ~= 'forget' then keep() end
return {1, 0}
