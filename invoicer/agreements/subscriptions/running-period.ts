import { isDeepStrictEqual } from 'node:util'
import { floorToMinute } from '../../../schemas/time/period.ts'
import { firstPeriodFrom, recurringLater } from './periods.ts'
import type { StoredPeriod, Subscription, Terms } from './subscription.ts'

/** Where the period ends that holds an instant, by the contract: a cancellation does not cut it. */
export function periodEnd(subscription: Subscription, contract: Terms, atMs: number): number {
  const { nextPeriod } = subscription
  if (nextPeriod !== null && nextPeriod.startMs <= atMs) {
    const wholeEndMs = wholeEndOf(subscription, nextPeriod, contract)
    if (atMs < wholeEndMs) return wholeEndMs
  }
  return firstPeriodFrom(contract, atMs)?.endMs ?? floorToMinute(atMs)
}

/** The end of its next period as it is stored, or without the cancellation that cut it. */
export function wholeEndOf({ endMs }: Subscription, next: StoredPeriod, contract: Terms): number {
  const isCut = next.endMs === endMs && endMs !== contract.endMs
  // From its middle, which lies in the same period where a country has changed its clocks since it was stored.
  const middleMs = (next.startMs + next.endMs) / 2
  return isCut ? (firstPeriodFrom(contract, middleMs)?.endMs ?? next.endMs) : next.endMs
}

/** Its next period where it has other phases: one that begins with new periods cuts it, and so no longer does. */
export function nextPeriodWith(
  { nextPeriod, endMs, phases: before }: Subscription,
  contract: Terms,
  phases: Subscription['phases'],
): StoredPeriod | null {
  const [was, later] = [before, phases].map((one) => recurringLater(contract, one))
  if (nextPeriod === null || isDeepStrictEqual(was, later)) return nextPeriod
  const { startMs } = nextPeriod
  return {
    startMs,
    endMs: firstPeriodFrom({ ...contract, endMs, later: later ?? [] }, startMs)?.endMs ?? nextPeriod.endMs,
  }
}

/** From when on it can be changed: now, at the whole minute, and in time that is not invoiced. */
export function changeableFrom({ startMs, nextPeriod }: Subscription, nowMs: number): number {
  return Math.max(floorToMinute(nowMs), startMs, nextPeriod?.startMs ?? startMs)
}
