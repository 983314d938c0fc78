-- Keeps the answer to a question, and ends the lock on it.
--
-- KEYS  1: the refusal of the credential; 2: the answer; 3: the lock; 4: the mark that there are
--       answers about the secret: '1', or '0' if the replicas were told that these are void
-- ARGV  1: the owner of the lock; 2: 'refusal', 'answer' or 'none'; 3: the value; 4: its
--       milliseconds; 5: the milliseconds of answers; 6: the time of the question, in microseconds
-- Returns 1; 2 if other replicas must be told of the refusal; 3 if a later refusal is known
local time = redis.call('TIME')
-- No gate has asked in the future.
local latest = time[1] * 1000000 + time[2] + 1000000
local function asked(key)
  local known = redis.call('GET', key)
  local at = known and tonumber(string.match(known, '^%d+ (%d+) '))
  return at and at < latest and at
end
local key = ARGV[2] == 'refusal' and KEYS[1] or KEYS[2]
local now, found = tonumber(ARGV[6]), 1
if ARGV[2] ~= 'none' then
  local before = asked(key)
  -- Of two questions at once, the earlier may be answered later.
  if not before or before <= now then
    local kept = tonumber(ARGV[4])
    local mark, left = redis.call('GET', KEYS[4]), redis.call('PTTL', KEYS[4])
    if ARGV[2] == 'answer' then
      if mark ~= '1' or left < kept then
        redis.call('SET', KEYS[4], '1', 'PX', string.format('%.0f', math.max(kept, left)))
      end
    elseif mark then
      -- A refusal outlives the answers that it makes void.
      kept = math.max(kept, tonumber(ARGV[5]))
      if mark == '1' and left > 0 then
        redis.call('SET', KEYS[4], '0', 'PX', string.format('%.0f', left))
        found = 2
      end
    end
    redis.call('SET', key, ARGV[3], 'PX', string.format('%.0f', kept))
  end
  local refused = ARGV[2] == 'answer' and asked(KEYS[1])
  if refused and refused > now then found = 3 end
end
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
return found
