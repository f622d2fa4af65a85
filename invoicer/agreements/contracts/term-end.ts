import { floorToMinute, type Interval, periodAt, periodBoundary } from '../../../schemas/time/period.ts'
import type { Duration, Term } from './terms.ts'

const MONTHS: Partial<Record<Interval, number>> = { month: 1, quarter: 3, half_year: 6, year: 12 }

/**
 * The end of durations that follow one another from a start: all their months first and then all their days, from the
 * start, so that a day which a month lacks comes back afterwards.
 */
export function endOfDurations(startMs: number, durations: readonly Duration[], zone: string): number {
  const months = durations.reduce((sum, { interval, count }) => sum + (MONTHS[interval] ?? 0) * count, 0)
  const days = durations.reduce((sum, { interval, count }) => sum + daysOf(interval) * count, 0)
  const monthsOnMs = months === 0 ? floorToMinute(startMs) : after(startMs, { interval: 'month', every: months }, zone)
  return days === 0 ? monthsOnMs : after(monthsOnMs, { interval: 'day', every: days }, zone)
}

function daysOf(interval: Interval): number {
  if (interval === 'day') return 1
  return interval === 'week' ? 7 : 0
}

function after(ms: number, cadence: { interval: Interval; every: number }, zone: string): number {
  return periodBoundary(ms, cadence, zone, 1)
}

/**
 * Where a contract ends that is cancelled with its term at an instant: at the end of the term that runs, or, if it is too
 * late for its notice, of the one behind. One that ends with its term has no other.
 */
export function termEnd(startMs: number, term: Term, zone: string, atMs: number): number {
  const firstEndMs = endOfDurations(startMs, [term], zone)
  if (term.renewal === 'end') return firstEndMs
  const fromMs = Math.max(atMs, startMs)
  const noticedMs =
    term.noticeDays === 0 ? fromMs : after(fromMs, { interval: 'day', every: term.noticeDays }, zone) - 1
  const terms = { startMs, zone, interval: term.interval, every: term.count, alignment: 'anniversary' as const }
  return periodAt(terms, Math.max(noticedMs, fromMs))?.endMs ?? firstEndMs
}
