import type { Interval } from '../../../../../schemas/time/period.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS
const FIRST_MS = Date.UTC(1990, 0, 1)
const LAST_MS = Date.UTC(2090, 0, 1)
/** Ramadan takes longer, and so does every time between two changes of clocks since 1990. */
const STEP_MS = 4 * DAY_MS

/** A time in which a zone's clocks stay as they are. */
type Stretch = { fromMs: number; untilMs: number; offsetMs: number }

const known = new Map<string, Stretch[]>()

/**
 * Boundaries of periods, computed the other way round than the product: the zone's offsets are listed once, as
 * `GMT-05:00` is written, and a local time is looked for in each stretch between two changes. Dates are counted from
 * March, so that the day that some years lack is the last of the year.
 */
export function secondBoundary(anchorMs: number, interval: Interval, every: number, zone: string, n: number): number {
  const stretches = known.get(zone) ?? stretchesOf(zone)
  known.set(zone, stretches)
  if (n === 0) return floored(anchorMs)
  const { offsetMs } = stretches.find(({ fromMs, untilMs }) => anchorMs >= fromMs && anchorMs < untilMs)!
  const localMs = anchorMs + offsetMs
  const day = Math.floor(localMs / DAY_MS)
  const wantedMs = localMs + (movedDay(day, interval, n * every) - day) * DAY_MS
  let first = Number.POSITIVE_INFINITY
  for (const [place, { fromMs, untilMs, offsetMs: here }] of stretches.entries()) {
    const atMs = wantedMs - here
    if (atMs >= fromMs && atMs < untilMs) first = Math.min(first, atMs)
    const before = stretches[place - 1]
    const leaptOver = before && wantedMs >= fromMs + before.offsetMs && wantedMs < fromMs + here
    if (leaptOver) first = Math.min(first, fromMs)
  }
  return floored(first)
}

function floored(ms: number): number {
  return ms - (((ms % MINUTE_MS) + MINUTE_MS) % MINUTE_MS)
}

function movedDay(day: number, interval: Interval, count: number): number {
  if (interval === 'day') return day + count
  if (interval === 'week') return day + 7 * count
  const { march, dayOfMonth } = fromDay(day)
  const months = { month: 1, quarter: 3, half_year: 6, year: 12 }[interval] * count
  const first = toDay(march + months)
  const last = toDay(march + months + 1) - 1
  return Math.min(first + dayOfMonth, last)
}

/** The first day of a month; months are counted from March of the year 0, days from 1970. */
function toDay(march: number): number {
  const year = Math.floor(march / 12)
  const month = march - year * 12
  const leapDays = Math.floor(year / 4) - Math.floor(year / 100) + Math.floor(year / 400)
  return year * 365 + leapDays + Math.floor((153 * month + 2) / 5) - 719_468
}

function fromDay(day: number): { march: number; dayOfMonth: number } {
  let march = Math.floor((day + 719_468) / 30.436875)
  while (toDay(march) > day) march -= 1
  while (toDay(march + 1) <= day) march += 1
  return { march, dayOfMonth: day - toDay(march) }
}

function stretchesOf(zone: string): Stretch[] {
  const clock = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
  const offsetAt = (ms: number) => {
    const shown = clock.formatToParts(ms).find(({ type }) => type === 'timeZoneName')!.value
    const [, sign, hours, minutes] = /^GMT(?:([+-])(\d\d):(\d\d))?$/.exec(shown)!
    return (sign === '-' ? -1 : 1) * (Number(hours ?? 0) * HOUR_MS + Number(minutes ?? 0) * MINUTE_MS)
  }
  const stretches: Stretch[] = []
  let fromMs = Number.NEGATIVE_INFINITY
  for (let ms = FIRST_MS; ms < LAST_MS; ms += STEP_MS) {
    const offsetMs = offsetAt(ms)
    if (offsetAt(ms + STEP_MS) === offsetMs) continue
    let [low, high] = [ms / MINUTE_MS, (ms + STEP_MS) / MINUTE_MS]
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (offsetAt(middle * MINUTE_MS) === offsetMs) low = middle
      else high = middle
    }
    stretches.push({ fromMs, untilMs: high * MINUTE_MS, offsetMs })
    fromMs = high * MINUTE_MS
  }
  return [...stretches, { fromMs, untilMs: Number.POSITIVE_INFINITY, offsetMs: offsetAt(LAST_MS) }]
}
