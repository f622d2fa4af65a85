import { civilAt, instantOf, offsetMs } from './zone.ts'

const DAY_MS = 86_400_000

/**
 * Calendar days of a zone in [fromMs, toMs), half-open: the day of `fromMs` counts, that of `toMs` does not, whatever
 * the hour. A day that the zone left out when it crossed the date line is none.
 * @throws Problem invalid_request for an unknown zone.
 */
export function daysBetween(fromMs: number, toMs: number, zone: string): number {
  const leftOut = Math.round((offsetMs(toMs, zone) - offsetMs(fromMs, zone)) / DAY_MS)
  return dayNumber(toMs, zone) - dayNumber(fromMs, zone) - leftOut
}

/** The day that an instant belongs to, counted from 1970. Minutes repeated over midnight are of the day begun already. */
function dayNumber(instantMs: number, zone: string): number {
  const { year, month, day } = civilAt(instantMs, zone)
  const next = { year, month, day: day + 1, hour: 0, minute: 0, second: 0 }
  const number = Date.UTC(year, month - 1, day) / DAY_MS
  return instantOf(next, zone) <= instantMs ? number + 1 : number
}
