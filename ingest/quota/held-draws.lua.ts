import { HOLDS } from './holds.lua.ts'
import { SUBTRACT } from './quota-numbers.lua.ts'
import { COMMON, ROLLING } from './quota-script.lua.ts'

/**
 * As DRAW_SCRIPT, for requests of which some items have holds. After the keys of those follow the holds and the tenant's
 * set of them; ARGV[5] is JSON of the hold of each item, counted from 1 (0: none), ARGV[6] how many holds there are.
 * Items are decided one by one, as `decide` does. Answers, beside the others, what each draw of the items
 * with holds that were not seen before took from its hold; of what was held in another bucket of a rolling limit with
 * that bucket's place, as `12@3`: it has left it, and the event counts where its time lies.
 */
export const HELD_DRAW_SCRIPT = `
local holds = table.remove(KEYS)
local holdKeys = {}
for h = tonumber(ARGV[6]), 1, -1 do holdKeys[h] = table.remove(KEYS) end
${COMMON}${ROLLING}${SUBTRACT}${HOLDS}
if #missing > 0 then return { missing, '', '', {} } end
if sweep() > 0 then readCounters() end
local stands = marksThatStand()

-- What a hold that lives has left on a counter; nil if it holds nothing there, or is damaged.
local lefts = {}
local function leftOf(h, c)
  if not lefts[h] then lefts[h] = { lives = redis.call('ZSCORE', holds, nameIn(holdKeys[h], 'hold')) } end
  if lefts[h].lives and lefts[h][c] == nil then
    local digits = redis.pcall('HGET', holdKeys[h], 'left:' .. nameIn(KEYS[c], 'used'))
    lefts[h][c] = type(digits) == 'string' and isNatural(digits) and value(digits)
  end
  return lefts[h][c] or nil
end

-- The counter of a limit on which a hold has something: its own, or of a rolling one another bucket that lies in every
-- window of the draw, as inEvery in rolling.ts. What moves from there to its own grows none of them, so that no room is asked for it.
local function heldAt(h, l)
  local c = limits[l]
  if not windows or not windows[l] or leftOf(h, c) then return c end
  local first = windows[l][1]
  for place = #windows[l], #first do
    if leftOf(h, first[place]) then return first[place] end
  end
  return c
end

local tookFrom, fromHolds = {}, {}
local function takeHeld(h, draws)
  local rests, over = {}, false
  for d = 1, #draws, 2 do
    local limit = 2 * draws[d]
    local c, micro = limits[limit - 1], draws[d + 1]
    local at = heldAt(h, limit - 1)
    local left = leftOf(h, at)
    local some = left and lesser(micro, left) or 0
    if above(some, 0) then
      lefts[h][at] = subtract(left, some)
      tookFrom[h] = tookFrom[h] or {}
      tookFrom[h][at] = add(tookFrom[h][at] or 0, some)
    end
    fromHolds[#fromHolds + 1] = at == c and text(some) or text(some) .. '@' .. at
    local rest = subtract(micro, some)
    rests[#rests + 1] = { c, at == c and rest or micro, at, some }
    if above(rest, 0) and above(add(against(limit - 1, used), rest), limits[limit]) then over = true end
  end
  for _, rest in ipairs(rests) do
    local c, amount, at, some = unpack(rest)
    used[c] = add(used[c], amount)
    changed[c] = true
    if at ~= c then
      used[at] = subtract(used[at], some)
      changed[at] = true
      livesS[at] = livesS[c]
    end
  end
  return over and 'o' or 't'
end

local enforce = ARGV[4] == '1'
local function take(draws)
  local fits = true
  for d = 1, #draws, 2 do
    local l = 2 * draws[d]
    if above(add(against(l - 1, used), draws[d + 1]), limits[l]) then fits = false end
  end
  if enforce and not fits then return 'n' end
  for d = 1, #draws, 2 do
    local c = limits[2 * draws[d] - 1]
    used[c] = add(used[c], draws[d + 1])
    changed[c] = true
  end
  return fits and 't' or 'o'
end

local taken, takenMarks, states = {}, {}, {}
local holdOf = cjson.decode(ARGV[5])
for i, draws in ipairs(cjson.decode(ARGV[3])) do
  if stands[i] or takenMarks[marks[i]] then
    states[i] = 's'
  else
    states[i] = holdOf[i] > 0 and takeHeld(holdOf[i], draws) or take(draws)
    if states[i] ~= 'n' then
      taken[i] = true
      takenMarks[marks[i]] = true
    end
  end
end
setMarks(taken)
for h, took in pairs(tookFrom) do
  for c, amount in pairs(took) do
    local counter = nameIn(KEYS[c], 'used')
    redis.call('HSET', holdKeys[h], 'left:' .. counter, text(lefts[h][c]))
    takeFromHeld(counter, amount)
  end
end
writeCounters()
return { missing, table.concat(states), table.concat(before, ' '), fromHolds }
`
