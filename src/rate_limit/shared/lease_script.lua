-- Moves events of rate limits between the replicas. One call is about many callers.
--
-- The bucket of a caller holds the events that the replicas have handed over and nobody has used.
-- It refills at the rate of its members together: each replica that has handed over its share.
--
-- KEYS  1: the clock; 2: the stream of bells; then the bucket of each caller
-- ARGV  1: id of the replica; 2: replicas alive; 3: replicas that answer now; then for each caller
--       its name, nanoseconds an event, burst, events wanted, events given back, and the
--       millionths of an event that the replica hands over if it is not a member yet (empty: none),
--       and the millionths that it took from the bucket while it was alone, if it is a member
-- Returns for each caller: 1 if there is a bucket, events granted, millionths of an event left,
--       members, milliseconds until the bucket is full
local id, alive, live = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- Returns a number that a script has written, or else 0 or `other`: what anybody else has written
-- must not spoil all that follows. NaN is not equal to itself.
local function number(text, other)
  local value = tonumber(text)
  return value and value == value and math.abs(value) < 9e15 and value or other or 0
end

-- Returns the fields of a hash. A key of another type is deleted.
local function fields_of(key)
  local fields, hash = redis.pcall('HGETALL', key), {}
  if fields.err then redis.call('DEL', key) end
  for f = 1, #fields, 2 do hash[fields[f]] = fields[f + 1] end
  return hash
end

-- The clock goes on by 3 s between two calls at most: a step of the server's clock fills no bucket,
-- and neither does the time of an outage, in which each replica used its own share. It never goes
-- back. Each beat of a replica moves it too.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local clock = fields_of(KEYS[1])
local v = math.max(0, number(clock.v))
local passed = clock.t and now - number(clock.t) or 0
v = v + math.max(0, math.min(passed, 3000000))
redis.call('HSET', KEYS[1], 'v', string.format('%.0f', v), 't', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], 86400000)

local function answer(key, at)
  local name = ARGV[at]
  local interval = tonumber(ARGV[at + 1]) / 1000
  local burst = tonumber(ARGV[at + 2])
  local want, give = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local joins, took = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local bucket = fields_of(key)
  local exists = bucket.v ~= nil
  if not exists and not joins then return {0, 0, 0, 0, 0} end
  -- No replica uses a share of a budget this small, so the bucket has it all from the start.
  local small = burst < 4 * alive
  local level, members = number(bucket.l), math.max(0, math.min(number(bucket.m), 1000))
  local function cap() return math.max(1, burst * math.min(members, alive) / alive) end
  local function inflow() return math.max(1, math.min(members, live)) / alive end
  if exists then
    local since = math.max(0, v - number(bucket.v, v))
    level = math.min(level + since / interval * inflow(), cap())
  elseif small then
    level = math.min(burst, math.max(0, joins) / 1000000 * alive)
  end
  -- Replicas that start later use no shares of their own either.
  if small then members = alive end
  local total, is_idle = want, want == 0 and give == 0 and not joins
  for field, value in pairs(bucket) do
    if string.sub(field, 1, 1) == 'd' and field ~= 'd' .. id then
      local wanted, when = string.match(value, '^(%d+) (%d+)$')
      if wanted and math.abs(v - tonumber(when)) < 500000 then
        total = total + tonumber(wanted)
        is_idle = false
      end
    end
  end
  if is_idle and level >= cap() then
    -- Full: each member takes its share back when it asks.
    redis.call('DEL', key)
    return {0, 0, 0, 0, 0}
  end
  local changed = {}
  if joins and not bucket['r' .. id] then
    changed[#changed + 1] = 'r' .. id
    changed[#changed + 1] = '1'
    if not small then
      members = members + 1
      level = level + joins / 1000000
    end
  elseif joins and took ~= 0 then
    -- It has used a part of the bucket as its own. What that gained in time, the bucket gained too.
    level = math.max(level + math.min(0, joins - took) / 1000000, -cap())
  end
  level = math.min(level + give, cap())

  -- If all want more than there is, each gets a part as large as its part of the demand.
  changed[#changed + 1] = 'd' .. id
  changed[#changed + 1] = string.format('%.0f %.0f', want, v)
  local grant = 0
  if want > 0 and level >= 1 then
    grant = want
    if total > level then grant = math.floor(level * want / total) end
    grant = math.max(1, math.min(grant, want, math.floor(level)))
  end
  level = level - grant

  -- Of the members, some may be gone, and replicas that have started since may not have heard yet.
  local silence = v - number(bucket.b)
  local rings = not exists or (members < live and silence > 1000000)
    or (want > 0 and silence > 10000000)
  if rings and not small then
    local kind = redis.call('TYPE', KEYS[2]).ok
    if kind ~= 'none' and kind ~= 'stream' then redis.call('DEL', KEYS[2]) end
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', '1000', '*',
      'b', name .. ' ' .. ARGV[at + 1] .. ' ' .. ARGV[at + 2])
    redis.call('PEXPIRE', KEYS[2], 86400000)
    changed[#changed + 1] = 'b'
    changed[#changed + 1] = string.format('%.0f', v)
  end
  redis.call('HSET', key, 'l', string.format('%.6f', level), 'm', string.format('%.0f', members),
    'v', string.format('%.0f', v), unpack(changed))
  local full = math.max(0, cap() - level) * interval / inflow() / 1000
  full = math.ceil(math.min(full, 2592000000))
  redis.call('PEXPIRE', key, string.format('%.0f', full + 5000))
  return {1, grant, math.floor(level * 1000000), members, full}
end

local reply = {}
for i = 3, #KEYS do
  for _, value in ipairs(answer(KEYS[i], 4 + (i - 3) * 7)) do reply[#reply + 1] = value end
end
return reply
