import { COUNTER_TTL_MS } from './counter-life.ts'
import { MARKS, MOST_VALUES } from './quota-marks.lua.ts'
import { NUMBERS, SUBTRACT } from './quota-numbers.lua.ts'

export const COUNTER_TTL_S = COUNTER_TTL_MS / 1_000

/**
 * Shared by the scripts that draw or give back. KEYS are the counters, the sets of marks that are named by a time, and
 * the two rotating sets. ARGV[1] is JSON of three flat lists: `totals`, what all items together draw on each counter;
 * `limits`, a counter and its limit in turn; `runs`, see MARKS. If limits are rolling, two more: how many counters follow
 * that are only read, and of each such limit its place, for how many seconds its counter lives, and its windows, each the
 * counters of it. ARGV[2] holds the marks. ARGV[3] is JSON of the draws of
 * each item, a limit and the amount in turn. Counters, limits and keys are counted from 1. In Redis every counter is a
 * decimal text without sign or leading zeros.
 *
 * Everything is read and checked before the first write: a script that fails has changed nothing.
 */
export const COMMON = `${NUMBERS}
local head = cjson.decode(ARGV[1])
local totals, limits, runs = head[1], head[2], head[3]
local counters = #totals + (head[4] or 0)
${MARKS}
local used = {}
local before = {}
local missing = {}
local function readCounters()
  for first = 1, counters, ${MOST_VALUES} do
    local values = redis.call('MGET', unpack(KEYS, first, math.min(first + ${MOST_VALUES} - 1, counters)))
    for i = 1, #values do
      local c, digits = first + i - 1, values[i]
      if not digits then
        missing[#missing + 1] = c
      elseif digits ~= '0' and not string.find(digits, '^[1-9]%d*$') then
        return redis.error_reply('ERR the counter ' .. KEYS[c] .. ' holds no natural number')
      else
        before[c] = digits
        used[c] = value(digits)
      end
    end
  end
end

local changed = {}
local livesS
if head[5] then
  livesS = {}
  for _, one in ipairs(head[5]) do livesS[limits[2 * one[1] - 1]] = one[2] end
end
local function writeCounters()
  for c in pairs(changed) do
    redis.call('SET', KEYS[c], text(used[c]), 'EX', livesS and livesS[c] or '${COUNTER_TTL_S}')
  end
end

local failed = readCounters()
if failed then return failed end
`

/**
 * What stands against a limit, by the place of its counter in `limits`; `of` are counters. Nothing has to be made for
 * requests without rolling limits, where it is what the counter has.
 */
export const ROLLING = `
local windows
if head[5] then
  windows = {}
  for _, one in ipairs(head[5]) do windows[2 * one[1] - 1] = one[3] end
end
local function against(l, of)
  local most = of[limits[l]]
  for _, window in ipairs(windows and windows[l] or {}) do
    local sum = 0
    for _, c in ipairs(window) do sum = add(sum, of[c]) end
    if above(sum, most) then most = sum end
  end
  return most
end
`

/**
 * Decides all items in order, as `decide` in quota-store.ts does; ARGV[4] is '1' to enforce. Answers the places of
 * missing counters, or one letter per item (s: seen before, t: taken, o: taken although it does not fit, n: not taken)
 * and the counters as they were before: one text, because the client takes a reply apart piece by piece.
 *
 * Nearly always no item was seen before and all fit together; then each fits in its turn too, and the draws need not be
 * read one by one. Only the setting of the marks shows whether an identity stands twice in the request. If so the items
 * are decided one by one, and all marks are already set as they will be: one copy of each is taken.
 */
export const DRAW_SCRIPT = `${COMMON}${ROLLING}
if #missing > 0 then return { missing, '', '' } end
local stands = marksThatStand()

local allFit = next(stands) == nil
local sums = {}
for c = 1, #totals do sums[c] = add(used[c], totals[c]) end
for c = #totals + 1, counters do sums[c] = used[c] end
for l = 1, #limits, 2 do
  local sum = windows and against(l, sums) or sums[limits[l]]
  if allFit and above(sum, limits[l + 1]) then allFit = false end
end

if allFit and setMarks() == #marks then
  used = sums
  for c = 1, #totals do changed[c] = true end
  writeCounters()
  return { missing, string.rep('t', #marks), table.concat(before, ' ') }
end

local function fits(draws)
  for d = 1, #draws, 2 do
    local l = 2 * draws[d]
    if above(add(against(l - 1, used), draws[d + 1]), limits[l]) then return false end
  end
  return true
end

local enforce = ARGV[4] == '1'
local taken = {}
local takenMarks = {}
local states = {}
for i, draws in ipairs(cjson.decode(ARGV[3])) do
  if stands[i] or takenMarks[marks[i]] then
    states[i] = 's'
  else
    states[i] = fits(draws) and 't' or (enforce and 'n' or 'o')
    if states[i] ~= 'n' then
      taken[i] = true
      takenMarks[marks[i]] = true
      for d = 1, #draws, 2 do
        local c = limits[2 * draws[d] - 1]
        used[c] = add(used[c], draws[d + 1])
        changed[c] = true
      end
    end
  end
end
setMarks(taken)
writeCounters()
return { missing, table.concat(states), table.concat(before, ' ') }
`

/**
 * Undoes draws. Only what still has its mark is given back: so running it twice undoes once, and after a flush, where
 * the draw went with the mark, nothing is taken off a counter that was loaded without it.
 */
export const GIVE_BACK_SCRIPT = `${COMMON}${SUBTRACT}
-- Takes away the mark of item i, which lies in the run at r. Answers whether it stood.
local function removeMark(i, r)
  local removed = redis.call('SREM', newMarks, marks[i]) + redis.call('SREM', oldMarks, marks[i])
  if runs[r] > 0 then removed = removed + redis.call('SREM', KEYS[runs[r]], marks[i]) end
  return removed > 0
end

local items = cjson.decode(ARGV[3])
local i = 0
for r = 1, #runs, 3 do
  for _ = 1, runs[r + 2] do
    i = i + 1
    if removeMark(i, r) then
      for d = 1, #items[i], 2 do
        local c = limits[2 * items[i][d] - 1]
        if used[c] then
          used[c] = subtract(used[c], items[i][d + 1])
          changed[c] = true
        end
      end
    end
  end
end
writeCounters()
return {}
`
