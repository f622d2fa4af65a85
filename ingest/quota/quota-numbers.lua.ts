/**
 * Exact natural numbers for Lua. Its own are doubles, exact to 2^53 only, and INCRBY ends at 2^63; a quantity may have
 * 32 digits in micro-units. So a value below 10^15 is a number, and any other its decimal text, which is added by
 * groups of 14 digits; texts of one length compare as numbers do, because they are digits only.
 */
export const NUMBERS = `
local function text(value)
  if type(value) == 'number' then return string.format('%.0f', value) end
  return value
end

local function value(digits)
  if #digits <= 15 then return tonumber(digits) end
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
`

/** Needs NUMBERS, and stands apart because every run of a script makes its functions anew. Below zero is zero. */
export const SUBTRACT = `
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
`

/** Whether a text is a number as counters and holds have them. */
export const NATURAL = `
local function isNatural(digits) return digits == '0' or string.find(digits, '^[1-9]%d*$') ~= nil end
`
