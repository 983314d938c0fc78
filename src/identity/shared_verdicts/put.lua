-- Keeps the answer to a question, and ends the lock on it.
--
-- KEYS  1: the refusal of the credential; 2: the answer; 3: the lock; 4: the mark that there are
--       answers about the secret
-- ARGV  1: the owner of the lock; 2: 'refusal', 'answer' or 'none'; 3: the value; 4: its
--       milliseconds; 5: the milliseconds of answers; 6: the time of the question, in microseconds
local key = ARGV[2] == 'refusal' and KEYS[1] or KEYS[2]
if ARGV[2] ~= 'none' then
  local known = redis.call('GET', key)
  local asked = known and tonumber(string.match(known, '^%d+ (%d+) '))
  -- Of two questions at once, the earlier may be answered later.
  if not asked or asked <= tonumber(ARGV[6]) then
    local kept = tonumber(ARGV[4])
    if ARGV[2] == 'answer' then
      if redis.call('PTTL', KEYS[4]) < kept then redis.call('SET', KEYS[4], '1', 'PX', kept) end
    elseif redis.call('EXISTS', KEYS[4]) == 1 then
      -- A refusal outlives the answers that it makes void.
      kept = math.max(kept, tonumber(ARGV[5]))
    end
    redis.call('SET', key, ARGV[3], 'PX', string.format('%.0f', kept))
  end
end
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
return 1
