import { Problem } from '../http/problem.ts'

/** A reading of a wall clock and calendar, without a zone. `month` is 1 to 12. */
export type Civil = { year: number; month: number; day: number; hour: number; minute: number; second: number }

const HOUR_MS = 3_600_000
const SECOND_MS = 1000
/** No zone is further from UTC than this, so a local time read as UTC ± this brackets the instants it can mean. */
const FARTHEST_OFFSET_MS = 16 * HOUR_MS
/** Zone names compare without case, so a caller could fill the cache with spellings; past this it starts anew. */
const FORMATTERS_KEPT = 1000

const EARLIEST_MS = Date.UTC(1000, 0, 1)
const LATEST_MS = Date.UTC(10_000, 0, 1)
/** What {@link findFormatter}'s formatters write: month, day, year, hour, minute, second. */
const SHOWN = /^(\d+)\/(\d+)\/(\d+), (\d+):(\d+):(\d+)$/

/** No zone changes its clocks twice within so long. */
const SLOT_MS = 6 * HOUR_MS
const SLOTS_KEPT = 1_000

const slotOffsets = new Map<string, Map<number, number>>()
const formatters = new Map<string, Intl.DateTimeFormat>()

/** Whether this is a name of the IANA time-zone database. A bare offset such as `+05:30` is not. */
export function isZone(zone: string): boolean {
  return findFormatter(zone) !== undefined
}

/** @throws Problem invalid_request for what is not an IANA zone. */
export function checkZone(zone: string): void {
  formatterOf(zone)
}

/** What clocks in the zone show at an instant; milliseconds are dropped. */
export function civilAt(instantMs: number, zone: string): Civil {
  const local = new Date(Math.floor(instantMs / SECOND_MS) * SECOND_MS + offsetMs(instantMs, zone))
  return {
    year: local.getUTCFullYear(),
    month: local.getUTCMonth() + 1,
    day: local.getUTCDate(),
    hour: local.getUTCHours(),
    minute: local.getUTCMinutes(),
    second: local.getUTCSeconds(),
  }
}

/**
 * Local time minus UTC at an instant, in milliseconds (whole seconds).
 * @throws Problem invalid_request for an unknown zone, or an instant outside the years 1000 to 9999.
 */
export function offsetMs(instantMs: number, zone: string): number {
  if (!(instantMs >= EARLIEST_MS && instantMs < LATEST_MS)) {
    throw new Problem('invalid_request', 'A time must lie in the years 1000 to 9999.')
  }
  const slot = Math.floor(instantMs / SLOT_MS)
  const offset = slotOffset(slot, zone)
  return offset === slotOffset(slot + 1, zone) ? offset : shownOffsetMs(instantMs, zone)
}

/** Reading a clock costs microseconds, and billing asks for the same few boundaries for every subscription. */
function slotOffset(slot: number, zone: string): number {
  const offsets = slotOffsets.get(zone) ?? new Map<number, number>()
  const known = offsets.get(slot)
  if (known !== undefined) return known
  const offset = shownOffsetMs(slot * SLOT_MS, zone)
  if (slotOffsets.size >= FORMATTERS_KEPT) slotOffsets.clear()
  if (offsets.size >= SLOTS_KEPT) offsets.clear()
  slotOffsets.set(zone, offsets.set(slot, offset))
  return offset
}

function shownOffsetMs(instantMs: number, zone: string): number {
  const second = Math.floor(instantMs / SECOND_MS) * SECOND_MS
  const match = SHOWN.exec(formatterOf(zone).format(second))
  if (match === null) throw new Problem('internal', `The clock of ${zone} could not be read.`)
  const [, month, day, year, hour, minute, secondShown] = match
  return (
    Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(secondShown)) - second
  )
}

/**
 * The instant at which clocks in the zone show a local time. One that a clock change leaves out is the first instant
 * after the gap; one that occurs twice is the earlier. Fields may run over, as in `Date.UTC`: day 32, month 13.
 */
export function instantOf(civil: Civil, zone: string): number {
  const localMs = Date.UTC(civil.year, civil.month - 1, civil.day, civil.hour, civil.minute, civil.second)
  const earlier = offsetMs(localMs - FARTHEST_OFFSET_MS, zone)
  const later = offsetMs(localMs + FARTHEST_OFFSET_MS, zone)
  if (earlier === later) return localMs - earlier
  const shown = [localMs - earlier, localMs - later].filter((ms) => ms + offsetMs(ms, zone) === localMs)
  if (shown.length > 0) return Math.min(...shown)
  // In a gap the clock still lags at the instant the new offset names, and is ahead at the one the old offset names.
  return firstInstant(localMs - later, localMs - earlier, (ms) => ms + offsetMs(ms, zone) >= localMs)
}

/** The first instant in (afterMs, untilMs] whose offset differs from that at afterMs; there must be one. */
export function offsetChange(afterMs: number, untilMs: number, zone: string): number {
  const before = offsetMs(afterMs, zone)
  const wholeSecond = Math.floor(afterMs / SECOND_MS) * SECOND_MS
  return firstInstant(wholeSecond, untilMs, (ms) => offsetMs(ms, zone) !== before)
}

/** Bisection over whole seconds: `holds` is false at lowMs, true at highMs, and changes once in between. */
function firstInstant(lowMs: number, highMs: number, holds: (ms: number) => boolean): number {
  let low = lowMs / SECOND_MS
  let high = Math.ceil(highMs / SECOND_MS)
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (holds(middle * SECOND_MS)) high = middle
    else low = middle
  }
  return high * SECOND_MS
}

function formatterOf(zone: string): Intl.DateTimeFormat {
  const formatter = findFormatter(zone)
  if (formatter === undefined) {
    throw new Problem('invalid_request', `${JSON.stringify(zone.slice(0, 60))} is not an IANA time zone.`)
  }
  return formatter
}

function findFormatter(zone: string): Intl.DateTimeFormat | undefined {
  const known = formatters.get(zone)
  if (known !== undefined) return known
  // Newer versions of Node also take bare offsets.
  if (!/^[A-Za-z]/.test(zone)) return undefined
  try {
    const formatter = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
    })
    if (formatters.size >= FORMATTERS_KEPT) formatters.clear()
    formatters.set(zone, formatter)
    return formatter
  } catch {
    return undefined
  }
}
