/** A resend within this time draws nothing. */
export const MARK_TTL_MS = 15 * 60_000
/**
 * A rotating set is made to live for twice that and a minute, and becomes the old one once it is a mark's time old. The
 * minute is for UNLINK to come before the end of the key: it frees a large set beside the work of the server.
 */
const ROTATING_TTL_MS = 2 * MARK_TTL_MS + 60_000
const ROTATED_BELOW_MS = MARK_TTL_MS + 60_000
/** unpack() takes some thousands of values at most, and a request may have 10,000 items. */
export const MOST_VALUES = 4_000

/**
 * `marks[i]` of every item, how to find those that stand, and how to set some. `runs` tells where they lie, three
 * numbers for each run of items: the key to look in besides the two rotating sets (0: none), the key to write to, and
 * how many items they are. ARGV[2] holds the marks, each after its length in one byte.
 */
export const MARKS = `
local newMarks, oldMarks = KEYS[#KEYS - 1], KEYS[#KEYS]
local marks = {}
local at = 1
for r = 3, #runs, 3 do
  for first = 1, runs[r], ${MOST_VALUES} do
    local form = string.rep('Bc0', math.min(${MOST_VALUES}, runs[r] - first + 1))
    local some = { struct.unpack(form, ARGV[2], at) }
    at = table.remove(some)
    for i = 1, #some do marks[#marks + 1] = some[i] end
  end
end

local function findIn(key, from, to, stands)
  for first = from, to, ${MOST_VALUES} do
    local found = redis.call('SMISMEMBER', key, unpack(marks, first, math.min(first + ${MOST_VALUES} - 1, to)))
    for i = 1, #found do
      if found[i] == 1 then stands[first + i - 1] = true end
    end
  end
end

local function marksThatStand()
  local stands = {}
  local from = 1
  for r = 1, #runs, 3 do
    local to = from + runs[r + 2] - 1
    if runs[r] > 0 then findIn(KEYS[runs[r]], from, to, stands) end
    from = to + 1
  end
  if redis.call('EXISTS', newMarks, oldMarks) > 0 then
    findIn(newMarks, 1, #marks, stands)
    findIn(oldMarks, 1, #marks, stands)
  end
  return stands
end

local function addTo(key, list)
  local left
  if key == newMarks then
    left = redis.call('PTTL', key)
    if left >= 0 and left < ${ROTATED_BELOW_MS} then
      redis.call('UNLINK', oldMarks)
      redis.call('RENAME', newMarks, oldMarks)
      left = -2
    end
  end
  local added = 0
  for first = 1, #list, ${MOST_VALUES} do
    added = added + redis.call('SADD', key, unpack(list, first, math.min(first + ${MOST_VALUES} - 1, #list)))
  end
  if not left then redis.call('PEXPIRE', key, ${MARK_TTL_MS})
  elseif left < 0 then redis.call('PEXPIRE', key, ${ROTATING_TTL_MS}) end
  return added
end

-- Sets the marks of the items for which chosen[i] holds, or of all. Answers how many did not stand before.
local function setMarks(chosen)
  local added, from = 0, 1
  for r = 1, #runs, 3 do
    local list = {}
    for i = from, from + runs[r + 2] - 1 do
      if not chosen or chosen[i] then list[#list + 1] = marks[i] end
    end
    if #list > 0 then added = added + addTo(KEYS[runs[r + 1]], list) end
    from = from + runs[r + 2]
  end
  return added
end
`
