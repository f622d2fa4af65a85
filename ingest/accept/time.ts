const RFC_3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/
const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const
const DAYS_IN_400_YEARS = 146_097

type Parts = {
  year: number
  month: number
  day: number
  hour: number
  minute: number
  second: number
  ms: number
  offsetHour: number
  offsetMinute: number
  west: boolean
}

/** Milliseconds since 1970 of an RFC 3339 time, finer fractions cut off; else what is wrong with it. */
export function readTime(text: string): { ms: number } | { message: string } {
  const ms = utcMs(text)
  if (ms !== undefined) return { ms }
  const parts = partsOf(text)
  if (!parts) return { message: 'must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z' }
  const { hour, minute, second, offsetHour, offsetMinute } = parts
  if (second === 60) return { message: 'must not be a leap second; send second 59' }
  const midnight = dayStart(parts.year, parts.month, parts.day)
  if (midnight === undefined || !isClock(hour, minute) || second > 59) return { message: 'must be a time that exists' }
  if (!isClock(offsetHour, offsetMinute)) return { message: 'must have an offset within ±23:59' }
  const offset = (offsetHour * 60 + offsetMinute) * (parts.west ? -60_000 : 60_000)
  return { ms: midnight + ((hour * 60 + minute) * 60 + second) * 1000 + parts.ms - offset }
}

function partsOf(text: string): Parts | undefined {
  const match = RFC_3339.exec(text)
  if (!match) return undefined
  const part = (index: number): number => Number(match[index] ?? 0)
  return {
    year: part(1),
    month: part(2),
    day: part(3),
    hour: part(4),
    minute: part(5),
    second: part(6),
    ms: Number((match[7] ?? '').slice(0, 3).padEnd(3, '0')),
    offsetHour: part(9),
    offsetMinute: part(10),
    west: match[8] === '-',
  }
}

const DASH = 0x2d
const COLON = 0x3a

/**
 * The form that toISOString writes, `2026-01-31T12:00:00.000Z`, in a tenth of the time that the expression takes. What
 * has another form, or does not exist, is undefined here.
 */
function utcMs(text: string): number | undefined {
  if (text.length !== 24 || text.charCodeAt(19) !== 0x2e || text.charCodeAt(23) !== 0x5a) return undefined
  // Events that come together are mostly of one minute, which is read once.
  if (!text.startsWith(latest.minute)) {
    const startMs = minuteStart(text)
    if (startMs === undefined) return undefined
    latest = { minute: text.slice(0, 17), startMs }
  }
  const second = digits(text, 17, 2)
  const timeMs = latest.startMs + second * 1000 + digits(text, 20, 3)
  // NaN: something else than digits.
  return second <= 59 && !Number.isNaN(timeMs) ? timeMs : undefined
}

/** The minute of the latest time, as it was written, up to its seconds. */
let latest = { minute: '1970-01-01T00:00:', startMs: 0 }

function minuteStart(text: string): number | undefined {
  if (text.charCodeAt(4) !== DASH || text.charCodeAt(7) !== DASH || text.charCodeAt(10) !== 0x54) return undefined
  if (text.charCodeAt(13) !== COLON || text.charCodeAt(16) !== COLON) return undefined
  const midnight = dayStart(digits(text, 0, 4), digits(text, 5, 2), digits(text, 8, 2))
  const hour = digits(text, 11, 2)
  const minute = digits(text, 14, 2)
  if (midnight === undefined || !isClock(hour, minute)) return undefined
  const startMs = midnight + (hour * 60 + minute) * 60_000
  // A year of something else than digits.
  return Number.isNaN(startMs) ? undefined : startMs
}

function digits(text: string, start: number, count: number): number {
  let value = 0
  for (let at = start; at < start + count; at++) {
    const digit = text.charCodeAt(at) - 0x30
    if (digit < 0 || digit > 9) return Number.NaN
    value = value * 10 + digit
  }
  return value
}

function dayStart(year: number, month: number, day: number): number | undefined {
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  const length = month === 2 ? (leap ? 29 : 28) : DAYS[month - 1]
  if (length === undefined || !(day >= 1 && day <= length)) return undefined
  // Date.UTC takes the years 0 to 99 as those of the last century; the calendar repeats every 400 years.
  return Date.UTC(year + 400, month - 1, day) - DAYS_IN_400_YEARS * 86_400_000
}

function isClock(hour: number, minute: number): boolean {
  return hour <= 23 && minute <= 59
}
