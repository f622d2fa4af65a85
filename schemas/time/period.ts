import { Problem } from '../http/problem.ts'
import { type Civil, civilAt, instantOf, offsetChange, offsetMs } from './zone.ts'

/** A quarter is three months, a half year six. */
export const INTERVALS = ['day', 'week', 'month', 'quarter', 'half_year', 'year'] as const
export type Interval = (typeof INTERVALS)[number]
/** How often something recurs: every `every` intervals. */
export type Cadence = { interval: Interval; every: number }
/** When a subscription is billed. `anniversary` counts from its start, `calendar` from the start of that interval. */
export type Schedule = Cadence & {
  startMs: number
  endMs?: number | null | undefined
  zone: string
  alignment: 'anniversary' | 'calendar'
}
/**
 * Half-open [startMs, endMs). The whole period, before the subscription's start and end cut it, is the basis of
 * proration. `index` counts whole periods from that of the start, which is 0.
 */
export type Period = { index: number; startMs: number; endMs: number; wholeStartMs: number; wholeEndMs: number }
export type Window = 'minute' | 'hour' | 'day' | 'week' | 'month'

export const MAX_PERIODS = 10_000
export const MAX_WINDOWS = 10_000

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const DAY_MS = 86_400_000
/** The mean of the Gregorian calendar. */
const MEAN_MONTH_MS = 30.436875 * DAY_MS
const UNITS: Record<Interval, { days: number; months: number }> = {
  day: { days: 1, months: 0 },
  week: { days: 7, months: 0 },
  month: { days: 0, months: 1 },
  quarter: { days: 0, months: 3 },
  half_year: { days: 0, months: 6 },
  year: { days: 0, months: 12 },
}

/** Billing boundaries are stored floored to the whole minute, so that minute rollups never split. */
export function floorToMinute(instantMs: number): number {
  return Math.floor(instantMs / MINUTE_MS) * MINUTE_MS
}

/**
 * The nth boundary after an anchor (n = 0 is the anchor, n < 0 lies before it), in the zone's calendar, floored to the
 * minute. Always computed from the original anchor: a day that a month lacks is clamped and comes back afterwards.
 * @throws Problem invalid_request for an unknown zone or an `every` that is not a whole number from 1.
 */
export function periodBoundary(anchorMs: number, cadence: Cadence, zone: string, n: number): number {
  // A local time that occurs twice resolves to the earlier; the anchor itself may have been the later.
  if (n === 0) return floorToMinute(anchorMs)
  return floorToMinute(instantOf(shifted(civilAt(anchorMs, zone), cadence, n), zone))
}

/** The start of the zone's calendar month that holds an instant, or of the nth month after it. */
export function calendarMonthStart(instantMs: number, zone: string, n = 0): number {
  return calendarStart(instantMs, 'month', zone, n)
}

/**
 * The periods of a schedule that overlap [fromMs, toMs), in order. With an infinite `fromMs` of -Infinity they begin at
 * the start.
 * @throws Problem invalid_request beyond 10,000 periods, for an unknown zone or an `every` below 1.
 */
export function* periodsBetween(schedule: Schedule, fromMs: number, toMs: number): Generator<Period, void, undefined> {
  const startMs = floorToMinute(schedule.startMs)
  const endMs = schedule.endMs == null ? Number.POSITIVE_INFINITY : floorToMinute(schedule.endMs)
  const stopMs = Math.min(toMs, endMs)
  const boundary = boundariesOf(schedule)
  let yielded = 0
  let index = firstIndex(schedule, Math.max(fromMs, startMs))
  let wholeStartMs = boundary(index)
  while (wholeStartMs < stopMs) {
    const wholeEndMs = boundary(index + 1)
    const period = {
      index,
      startMs: Math.max(wholeStartMs, startMs),
      endMs: Math.min(wholeEndMs, endMs),
      wholeStartMs,
      wholeEndMs,
    }
    // Days that a zone left out when it crossed the date line have no length.
    if (period.startMs < period.endMs && period.startMs < toMs && period.endMs > fromMs) {
      if (yielded === MAX_PERIODS) throw new Problem('invalid_request', `These are more than ${MAX_PERIODS} periods.`)
      yielded += 1
      yield period
    }
    index += 1
    wholeStartMs = wholeEndMs
  }
}

/** The period that holds an instant; undefined before the schedule's start and from its end. */
export function periodAt(schedule: Schedule, instantMs: number): Period | undefined {
  const [period] = periodsBetween(schedule, instantMs, instantMs + 1)
  return period
}

/**
 * Starts of the local-time windows that overlap [fromMs, toMs): the first lies at or before fromMs, each ends where the
 * next starts. A day is 23 or 25 hours long at a clock change. An hour starts where clocks show a full hour or leap
 * over one, so a change by half an hour makes one hour longer or shorter.
 * @throws Problem invalid_request beyond 10,000 windows, or for an unknown zone.
 */
export function windowStarts(fromMs: number, toMs: number, window: Window, zone: string): number[] {
  const starts: number[] = []
  if (!(fromMs < toMs)) return starts
  let n = 0
  const next = (startMs: number) => {
    if (window === 'minute') return startMs + MINUTE_MS
    if (window === 'hour') return nextHourStart(startMs, zone)
    n += 1
    return calendarStart(fromMs, window, zone, n)
  }
  let startMs = firstStart(fromMs, window, zone)
  while (startMs < toMs) {
    if (starts.at(-1) !== startMs) starts.push(startMs)
    if (starts.length > MAX_WINDOWS) {
      throw new Problem('invalid_request', `These are more than ${MAX_WINDOWS} windows: ask for a shorter range.`)
    }
    startMs = next(startMs)
  }
  return starts
}

function firstStart(fromMs: number, window: Window, zone: string): number {
  if (window === 'minute') return floorToMinute(fromMs)
  return window === 'hour' ? hourStart(fromMs, zone) : calendarStart(fromMs, window, zone, 0)
}

function boundariesOf(schedule: Schedule): (n: number) => number {
  const { startMs, zone, alignment, interval } = schedule
  if (alignment === 'anniversary') return (n) => periodBoundary(startMs, schedule, zone, n)
  const anchor = floored(civilAt(startMs, zone), interval)
  return (n) => floorToMinute(instantOf(shifted(anchor, schedule, n), zone))
}

/** The index of the period holding fromMs, which is not before the schedule's start. */
function firstIndex(schedule: Schedule, fromMs: number): number {
  const boundary = boundariesOf(schedule)
  // Calendar drift from the mean is under three intervals: begin below, then step.
  const { days, months } = UNITS[schedule.interval]
  const passed = (fromMs - boundary(0)) / (days * DAY_MS + months * MEAN_MONTH_MS)
  let index = Math.max(0, Math.floor((passed - 3) / schedule.every))
  if (!Number.isFinite(index)) return 0
  while (boundary(index + 1) <= fromMs) index += 1
  return index
}

function calendarStart(instantMs: number, interval: 'day' | 'week' | 'month', zone: string, n: number): number {
  const anchor = floored(civilAt(instantMs, zone), interval)
  const startOf = (k: number) => floorToMinute(instantOf(shifted(anchor, { interval, every: 1 }, k), zone))
  // Where clocks go back over midnight, the repeated minutes belong to the day that had begun already.
  return startOf(startOf(1) <= instantMs ? n + 1 : n)
}

/** The start of the calendar interval that holds a civil time; weeks start on Monday, quarters in January. */
function floored(civil: Civil, interval: Interval): Civil {
  const start = { ...civil, hour: 0, minute: 0, second: 0 }
  if (interval === 'week') {
    const weekday = (new Date(Date.UTC(civil.year, civil.month - 1, civil.day)).getUTCDay() + 6) % 7
    return { ...start, day: civil.day - weekday }
  }
  const { months } = UNITS[interval]
  return months === 0 ? start : { ...start, month: civil.month - ((civil.month - 1) % months), day: 1 }
}

function shifted(civil: Civil, { interval, every }: Cadence, n: number): Civil {
  if (!Number.isInteger(every) || every < 1) {
    throw new Problem('invalid_request', `A period recurs every 1, 2, 3 … intervals, not every ${every}.`)
  }
  const { days, months } = UNITS[interval]
  if (months === 0) return { ...civil, day: civil.day + n * every * days }
  const passed = civil.year * 12 + (civil.month - 1) + n * every * months
  const year = Math.floor(passed / 12)
  const month = passed - year * 12 + 1
  const daysInMonth = new Date(Date.UTC(year, month, 0)).getUTCDate()
  return { ...civil, year, month, day: Math.min(civil.day, daysInMonth) }
}

function hourStart(instantMs: number, zone: string): number {
  // Hours are at most two clock hours long, whatever the change: three hours back there is a start to walk from.
  let startMs = nextHourStart(instantMs - 3 * HOUR_MS, zone)
  for (let next = startMs; next <= instantMs; next = nextHourStart(next, zone)) startMs = next
  return startMs
}

function nextHourStart(afterMs: number, zone: string): number {
  const offset = offsetMs(afterMs, zone)
  const fullHourMs = (Math.floor((afterMs + offset) / HOUR_MS) + 1) * HOUR_MS - offset
  if (offsetMs(fullHourMs, zone) === offset) return fullHourMs
  const changeMs = offsetChange(afterMs, fullHourMs, zone)
  const shownMs = changeMs + offsetMs(changeMs, zone)
  const lastShownMs = changeMs + offset - 1
  const showsFullHour = shownMs % HOUR_MS === 0
  const leapsOverOne = Math.floor(shownMs / HOUR_MS) > Math.floor(lastShownMs / HOUR_MS)
  return showsFullHour || leapsOverOne ? changeMs : nextHourStart(changeMs, zone)
}
