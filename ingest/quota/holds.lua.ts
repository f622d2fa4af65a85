import { HOLD_REMEMBERED_MS, MOST_LIVING_HOLDS, MOST_RETURNS, MOST_SWEPT } from './holds.ts'
import { NATURAL, NUMBERS, SUBTRACT } from './quota-numbers.lua.ts'

/** Longer than a counter lives that nobody uses: what outlives everybody's interest goes by itself. */
export const HOLD_TTL_MS = 25 * 3_600_000

/**
 * What all scripts about holds share; needs NUMBERS, SUBTRACT and `holds`, the key of the tenant's set of holds that
 * live, by the time of their end. Time is the server's. Of a hold only its own key is declared: the names of its counters
 * are in it, and carry the tenant's tag as all keys do, so that they lie in the same slot of a cluster.
 */
export const HOLDS = `${NATURAL}
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local prefix = string.sub(holds, 1, -6)

-- 'quota:{7}:hold:x' without 'quota:{7}:hold:' is 'x'.
local function nameIn(key, kind) return string.sub(key, #prefix + #kind + 2) end

local function natural(key)
  local digits = redis.call('GET', key)
  if not digits then return nil end
  if not isNatural(digits) then error('the counter ' .. key .. ' holds no natural number') end
  return value(digits)
end

local function lesser(a, b) return above(a, b) and b or a end

-- The sum of what holds have left on a counter, for when it is loaded anew. One that is damaged counts as none: what
-- changes it has changed other keys before, and must not fail.
local function heldOn(key)
  local sound, amount = pcall(natural, key)
  return sound and amount or 0
end
local function addToHeld(counter, amount)
  local key = prefix .. 'held:' .. counter
  redis.call('SET', key, text(add(heldOn(key), amount)), 'PX', '${HOLD_TTL_MS}')
end
local function takeFromHeld(counter, amount)
  local key = prefix .. 'held:' .. counter
  local left = subtract(heldOn(key), amount)
  if above(left, 0) then redis.call('SET', key, text(left), 'PX', '${HOLD_TTL_MS}') else redis.call('DEL', key) end
end

-- How long a counter lives stays: the grant was its use. One that is damaged stays as it is: draws on it fail loudly, and
-- the tenant's other holds go on.
local function giveBack(counter, amount)
  local key = prefix .. 'used:' .. counter
  local sound, used = pcall(natural, key)
  if sound and used then redis.call('SET', key, text(subtract(used, amount)), 'KEEPTTL') end
  takeFromHeld(counter, amount)
end

-- What a hold has left on each counter, in turn; nil if it is damaged.
local function readLefts(key)
  local counters = cjson.decode(redis.call('HGET', key, 'counters'))
  local fields, lefts = {}, {}
  for c, counter in ipairs(counters) do fields[c] = 'left:' .. counter end
  for c, digits in ipairs(redis.call('HMGET', key, unpack(fields))) do
    if not isNatural(digits) then error('a hold has no natural number left') end
    lefts[#lefts + 1] = counters[c]
    lefts[#lefts + 1] = value(digits)
  end
  return lefts
end
local function leftsOf(key)
  local sound, lefts = pcall(readLefts, key)
  return sound and lefts or nil
end

-- Ends a hold. Answers the most that it had left on a counter. It is taken out before anything is set: a server whose
-- memory is full refuses a script that begins with SET, and lets go on one that has begun with a removal. A damaged one
-- gives back nothing.
local function endHold(id)
  local key = prefix .. 'hold:' .. id
  local most, lefts = 0, leftsOf(key)
  redis.call('ZREM', holds, id)
  redis.call('PEXPIRE', key, '${HOLD_REMEMBERED_MS}')
  if not lefts then return most end
  redis.call('HDEL', key, 'counters')
  for l = 1, #lefts, 2 do
    redis.call('HDEL', key, 'left:' .. lefts[l])
    giveBack(lefts[l], lefts[l + 1])
    if above(lefts[l + 1], most) then most = lefts[l + 1] end
  end
  return most
end

-- Ends some holds whose time is over. Answers how many.
local function sweep()
  local over = redis.call('ZRANGEBYSCORE', holds, '-inf', nowMs, 'LIMIT', 0, ${MOST_SWEPT})
  for _, id in ipairs(over) do endHold(id) end
  return #over
end
`

const ALONE = `${NUMBERS}${SUBTRACT}
local holds = KEYS[1]
${HOLDS}`

/**
 * Grants a hold. KEYS: the set, the hold, its counters, and others that are only read. ARGV: what is asked, how (`whole`,
 * `partly`, or `always`), how long it lives, subject, meter, the time of its expiry as it is answered, JSON of the windows
 * of each counter's limit if it is rolling (each the places of its counters), and of each counter a limit and for how many
 * seconds it lives. Answers the places of missing counters, the hold as it is stored, what stood against the limits
 * before, and 1 if too many live.
 */
export const HOLD_SCRIPT = `${ALONE}
local key, asked, how = KEYS[2], value(ARGV[1]), ARGV[2]
local function stored() return redis.call('HMGET', key, 'subject', 'meter', 'asked', 'granted', 'until', 'used') end
local known = stored()
if known[1] then return { {}, known, {} } end

local used, missing = {}, {}
local function readCounters()
  for c = 3, #KEYS do
    used[c] = natural(KEYS[c])
    if not used[c] then missing[#missing + 1] = c - 2 end
  end
end
readCounters()
if #missing > 0 then return { missing, {}, {} } end
if sweep() > 0 then readCounters() end
if redis.call('ZCARD', holds) >= ${MOST_LIVING_HOLDS} then return { {}, {}, {}, 1 } end

local windows = cjson.decode(ARGV[7])
local function against(c)
  local most = used[c]
  for _, window in ipairs(windows[c - 2] or {}) do
    local sum = 0
    for _, place in ipairs(window) do sum = add(sum, used[place + 2]) end
    if above(sum, most) then most = sum end
  end
  return most
end

local granted = asked
local last = 2 + (#ARGV - 7) / 2
local stood, before, after = {}, {}, {}
for c = 3, last do
  stood[c] = against(c)
  before[#before + 1] = text(stood[c])
  local limit = value(ARGV[2 * c + 2])
  if how ~= 'always' and above(add(stood[c], granted), limit) then
    granted = how == 'partly' and subtract(limit, stood[c]) or 0
  end
end
if not above(granted, 0) then return { {}, {}, before } end

local counters = {}
for c = 3, last do
  local counter = nameIn(KEYS[c], 'used')
  counters[#counters + 1] = counter
  after[#after + 1] = text(add(stood[c], granted))
  redis.call('SET', KEYS[c], text(add(used[c], granted)), 'EX', ARGV[2 * c + 3])
  addToHeld(counter, granted)
  redis.call('HSET', key, 'left:' .. counter, text(granted))
end
redis.call('HSET', key, 'subject', ARGV[4], 'meter', ARGV[5], 'asked', text(asked), 'granted', text(granted),
  'until', ARGV[6], 'used', table.concat(after, ' '), 'counters', cjson.encode(counters))
redis.call('PEXPIRE', key, ${HOLD_TTL_MS} + ARGV[3])
redis.call('ZADD', holds, nowMs + ARGV[3], nameIn(key, 'hold'))
redis.call('PEXPIRE', holds, '${HOLD_TTL_MS}')
return { {}, stored(), before }
`

/**
 * Frees what a hold has left, and ends it; or with an amount in ARGV[1] at most that much, and the hold goes on. KEYS:
 * the set, the hold. Answers what was freed.
 */
export const RELEASE_SCRIPT = `${ALONE}
sweep()
local key, id = KEYS[2], nameIn(KEYS[2], 'hold')
if not redis.call('ZSCORE', holds, id) then return '0' end
if ARGV[1] == '' then return text(endHold(id)) end

local lefts = leftsOf(key)
if not lefts then return text(endHold(id)) end
local before = redis.call('HGET', key, 'returned:' .. ARGV[1])
if before then return before end
local most = 0
for l = 2, #lefts, 2 do
  if above(lefts[l], most) then most = lefts[l] end
end
most = lesser(most, value(ARGV[1]))
-- The repeat of a return that freed nothing frees nothing either: it need not be remembered.
if not above(most, 0) or redis.call('HINCRBY', key, 'returns', 1) > ${MOST_RETURNS} then return '0' end
for l = 1, #lefts, 2 do
  local some = lesser(lefts[l + 1], most)
  giveBack(lefts[l], some)
  redis.call('HSET', key, 'left:' .. lefts[l], text(subtract(lefts[l + 1], some)))
end
redis.call('HSET', key, 'returned:' .. ARGV[1], text(most))
return text(most)
`

/** Ends some holds of the tenant whose set is KEYS[1]. Answers how many, and how many live on. */
export const SWEEP_SCRIPT = `${ALONE}
return { sweep(), redis.call('ZCARD', holds) }
`

/**
 * KEYS: a counter and what holds have left of it, which counts as nothing if it is damaged, in turn, and last the key of
 * MEMORY_SCRIPT; ARGV: what is used of each counter, and for how many seconds it lives, and last what that key must have,
 * if that is not empty. Those that are there stay.
 */
export const LOAD_SCRIPT = `${NUMBERS}${NATURAL}
if ARGV[#ARGV] ~= '' and redis.call('GET', KEYS[#KEYS]) ~= ARGV[#ARGV] then return end
for place = 1, #KEYS - 1, 2 do
  local digits = redis.pcall('GET', KEYS[place + 1])
  local held = type(digits) == 'string' and isNatural(digits) and value(digits) or 0
  redis.call('SET', KEYS[place], text(add(value(ARGV[place]), held)), 'EX', ARGV[place + 1], 'NX')
end
`

/** Since when the server remembers, by its own clock, and for how many milliseconds: from now on if the key is not there. */
export const MEMORY_SCRIPT = `
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], string.format('%.0f', nowMs), 'NX')
local since = redis.call('GET', KEYS[1])
return { since, nowMs - since }
`
