import type { Period } from '../../../schemas/time/period.ts'
import type { ToRate } from '../due.ts'
import { periodHolding } from '../preview/period-holding.ts'

/** Usage of a period's last minutes is known, and was looked at, so long after its end. */
const LATE_MS = 5 * 60_000

/**
 * The periods whose spend is compared with a budget: the running one, and the one before it until its grace is over,
 * because what was used right before its end, or came late, is spent in it.
 */
export function watchedPeriods(subscription: Pick<ToRate, 'terms' | 'next' | 'graceMs'>, nowMs: number): Period[] {
  const { terms, graceMs } = subscription
  const running = periodHolding(subscription, nowMs)
  const before = periodHolding(subscription, (running?.startMs ?? terms.endMs ?? terms.startMs) - 1)
  const isOpen = before !== undefined && before.endMs + Math.max(graceMs, LATE_MS) > nowMs
  return [...(isOpen ? [before] : []), ...(running ? [running] : [])]
}
