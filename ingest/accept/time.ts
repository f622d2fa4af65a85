const RFC_3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/
const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const
const DAYS_IN_400_YEARS = 146_097

/** Milliseconds since 1970 of an RFC 3339 time, finer fractions cut off; else what is wrong with it. */
export function readTime(text: string): { ms: number } | { message: string } {
  const match = RFC_3339.exec(text)
  if (!match) return { message: 'must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z' }
  const part = (index: number): number => Number(match[index] ?? 0)
  const hour = part(4)
  const minute = part(5)
  const second = part(6)
  if (second === 60) return { message: 'must not be a leap second; send second 59' }
  const midnight = dayStart(part(1), part(2), part(3))
  if (midnight === undefined || !isClock(hour, minute) || second > 59) return { message: 'must be a time that exists' }
  if (!isClock(part(9), part(10))) return { message: 'must have an offset within ±23:59' }
  const offset = (part(9) * 60 + part(10)) * (match[8] === '-' ? -60_000 : 60_000)
  const fraction = Number((match[7] ?? '').slice(0, 3).padEnd(3, '0'))
  return { ms: midnight + ((hour * 60 + minute) * 60 + second) * 1000 + fraction - offset }
}

function dayStart(year: number, month: number, day: number): number | undefined {
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  const length = month === 2 ? (leap ? 29 : 28) : DAYS[month - 1]
  if (length === undefined || day < 1 || day > length) return undefined
  // Date.UTC takes the years 0 to 99 as those of the last century; the calendar repeats every 400 years.
  return Date.UTC(year + 400, month - 1, day) - DAYS_IN_400_YEARS * 86_400_000
}

function isClock(hour: number, minute: number): boolean {
  return hour <= 23 && minute <= 59
}
