/** A resend within this time draws nothing; a counter unused for a day is loaded anew. */
export const SEEN_TTL_S = 15 * 60
export const COUNTER_TTL_S = 24 * 3_600

/**
 * Shared by both scripts. KEYS are first the counters, then one seen-mark per item. ARGV[1] is the number of counters,
 * ARGV[2] the draws per item as JSON: [counter, micro, limit, counter, micro, limit, …] with counters counted from 1.
 *
 * Numbers in Lua are doubles, exact to 2^53 only, and INCRBY ends at 2^63; a quantity may have 32 digits in
 * micro-units. So a value below 10^15 is a number, and any other its decimal text, which is added by groups of 14
 * digits; texts of one length compare as numbers do, because they are digits only. In Redis every counter is a decimal
 * text without sign or leading zeros.
 *
 * Everything is read and checked before the first write: a script that fails has changed nothing.
 */
const COMMON = `
local function text(value)
  if type(value) == 'number' then return string.format('%.0f', value) end
  return value
end

local function value(digits)
  local significant = string.gsub(digits, '^0+(%d)', '%1')
  if #significant <= 15 then return tonumber(significant) end
  return significant
end

local function cut(digits)
  return tonumber(string.sub(digits, -14)) or 0, string.sub(digits, 1, -15)
end

local function add(a, b)
  if type(a) == 'number' and type(b) == 'number' then
    local sum = a + b
    return sum < 1e15 and sum or text(sum)
  end
  a, b = text(a), text(b)
  local sum, carry, x, y = '', 0, 0, 0
  while #a > 0 or #b > 0 or carry > 0 do
    x, a = cut(a)
    y, b = cut(b)
    local group = x + y + carry
    carry = group >= 1e14 and 1 or 0
    sum = string.format('%014.0f', group - carry * 1e14) .. sum
  end
  return value(sum)
end

local function above(a, b)
  if type(a) ~= type(b) then return type(a) == 'string' end
  if type(a) == 'string' and #a ~= #b then return #a > #b end
  return a > b
end

local function subtract(a, b)
  if not above(a, b) then return 0 end
  if type(a) == 'number' then return a - b end
  b = text(b)
  local rest, borrow, x, y = '', 0, 0, 0
  while #a > 0 do
    x, a = cut(a)
    y, b = cut(b)
    local group = x - y - borrow
    borrow = group < 0 and 1 or 0
    rest = string.format('%014.0f', group + borrow * 1e14) .. rest
  end
  return value(rest)
end

local counters = tonumber(ARGV[1])
local items = cjson.decode(ARGV[2])

-- unpack() takes some thousands of values at most, and a request may have 10,000 items.
local function read(from, to)
  local values = {}
  for start = from, to, 4000 do
    local some = redis.call('MGET', unpack(KEYS, start, math.min(start + 3999, to)))
    for i = 1, #some do values[start + i - 1] = some[i] end
  end
  return values
end

local used = {}
local before = {}
local missing = {}
local function readCounters()
  local values = read(1, counters)
  for i = 1, counters do
    local digits = values[i]
    if not digits then
      missing[#missing + 1] = i
    elseif digits ~= '0' and not string.find(digits, '^[1-9]%d*$') then
      return redis.error_reply('ERR the counter ' .. KEYS[i] .. ' holds no natural number')
    else
      before[i] = digits
      used[i] = value(digits)
    end
  end
end

local changed = {}
local function writeCounters()
  for i in pairs(changed) do redis.call('SET', KEYS[i], text(used[i]), 'EX', '${COUNTER_TTL_S}') end
end

local failed = readCounters()
if failed then return failed end
`

/**
 * Decides all items in order, as `decide` in quota-store.ts does; ARGV[3] is '1' to enforce. Answers the places of
 * missing counters, or one letter per item (s: seen before, t: taken, o: taken although it does not fit, n: not taken)
 * and the counters as they were before.
 */
export const DRAW_SCRIPT = `${COMMON}
if #missing > 0 then return { missing, '', {} } end
local enforce = ARGV[3] == '1'
local marks = read(counters + 1, #KEYS)
local taken = {}
local states = {}
for i, draws in ipairs(items) do
  local mark = KEYS[counters + i]
  if marks[counters + i] or taken[mark] then
    states[i] = 's'
  else
    local fits = true
    for d = 1, #draws, 3 do
      if above(add(used[draws[d]], draws[d + 1]), draws[d + 2]) then fits = false end
    end
    states[i] = fits and 't' or (enforce and 'n' or 'o')
    if states[i] ~= 'n' then
      taken[mark] = true
      for d = 1, #draws, 3 do
        used[draws[d]] = add(used[draws[d]], draws[d + 1])
        changed[draws[d]] = true
      end
    end
  end
end
writeCounters()
for mark in pairs(taken) do redis.call('SET', mark, '', 'EX', '${SEEN_TTL_S}') end
return { missing, table.concat(states), before }
`

/**
 * Undoes draws. Only what still has its mark is given back: so running it twice undoes once, and after a flush, where
 * the draw went with the mark, nothing is taken off a counter that was loaded without it.
 */
export const GIVE_BACK_SCRIPT = `${COMMON}
for i, draws in ipairs(items) do
  if redis.call('DEL', KEYS[counters + i]) == 1 then
    for d = 1, #draws, 3 do
      if used[draws[d]] then
        used[draws[d]] = subtract(used[draws[d]], draws[d + 1])
        changed[draws[d]] = true
      end
    end
  end
end
writeCounters()
return {}
`
