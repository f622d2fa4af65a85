import { floorToMinute, type Period } from '../../../schemas/time/period.ts'
import { firstPeriodFrom } from '../../agreements/subscriptions/periods.ts'
import { duePeriods, type ToRate } from '../due.ts'

const MINUTE_MS = 60_000

/**
 * The period of a subscription that holds an instant, with the boundaries by which a run bills it; undefined before the
 * start and from the contract's end on. Nothing is walked: only the period after the stored one depends on it.
 */
export function periodHolding({ terms, next }: Pick<ToRate, 'terms' | 'next'>, atMs: number): Period | undefined {
  if (atMs < terms.startMs || (terms.endMs !== null && atMs >= terms.endMs)) return undefined
  if (next === null || atMs < next.startMs) return firstPeriodFrom(terms, atMs)
  const { next: open } = duePeriods(terms, next, 0, atMs, 1)
  return open !== undefined && atMs < open.endMs ? open : firstPeriodFrom(terms, atMs)
}

/** The period behind one, as a run bills it; null from the contract's end on. */
export function periodAfter(terms: ToRate['terms'], period: Period): Period | null {
  return duePeriods(terms, period, 0, period.endMs, 1).next ?? null
}

/**
 * Up to when usage of a period is read: to its end or, while it goes on, to the end of this minute, because usage is
 * kept by the minute. What counts by the time that it stands is not counted ahead.
 */
export function usageUntil({ startMs, endMs }: Period, nowMs: number): number {
  return Math.max(startMs, Math.min(endMs, floorToMinute(nowMs) + MINUTE_MS))
}
