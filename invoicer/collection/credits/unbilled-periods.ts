import type { Period } from '../../../schemas/time/period.ts'
import { duePeriods, type ToRate } from '../../billing/due.ts'

/** More than a daily plan has within the longest grace, 30 days. */
const MOST_ENDED = 32

/**
 * The periods of a subscription that have begun and have no invoice, in order and with the boundaries by which a run
 * bills them. Where runs were away so long that there are more, the first of these.
 */
export function unbilledPeriods({ terms, next }: Pick<ToRate, 'terms' | 'next'>, nowMs: number): Period[] {
  if (next === null) return []
  const { periods, next: open } = duePeriods(terms, next, 0, nowMs, MOST_ENDED)
  return open !== undefined && open.startMs <= nowMs ? [...periods, open] : periods
}
