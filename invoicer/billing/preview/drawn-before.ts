import type { Period } from '../../../schemas/time/period.ts'
import { periodsFrom } from '../../agreements/subscriptions/periods.ts'
import type { ToRate } from '../due.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { ratable } from '../shares.ts'

/**
 * Periods before one that nobody billed yet, and that draw on a commitment which it has too; none for most.
 * @throws Problem for a plan that cannot be rated.
 */
export function drawnBefore(subscription: ToRate, period: Period, planOf: PlanOf): Period[] {
  const { next, terms } = subscription
  if (next === null || next.startMs >= period.startMs) return []
  const { portions } = ratable(subscription, period, planOf)
  const starts = portions.flatMap(({ windows }) => [...(windows?.values() ?? [])].map(({ startMs }) => startMs))
  if (starts.length === 0) return []
  const earlier: Period[] = []
  for (const one of periodsFrom(terms, Math.max(next.startMs, Math.min(...starts)))) {
    if (one.startMs >= period.startMs) return earlier
    earlier.push(one)
  }
  return earlier
}
