import { firstPeriodFrom } from '../../agreements/subscriptions/periods.ts'
import type { Terms } from '../../agreements/subscriptions/subscription.ts'
import type { RunDraft } from './draft.ts'

/** A subscription that has ended, and its last period that was billed. */
export type Ended = {
  subscriptionId: string
  customerId: string
  currency: string
  terms: Terms
  graceMs: number
  billedUntilMs: number
  previousMinor: bigint
}

/** Runs that bill what falls due in (after, until]. */
export type DueWindow = { afterMs: number; untilMs: number }

/**
 * The period that would have been due in the window, had the subscription gone on; undefined when none would. Each that
 * ended is thus missed once: by the run that would have billed the period behind its last.
 */
export function missedBy({ afterMs, untilMs }: DueWindow, ended: Ended): RunDraft | undefined {
  const next = firstPeriodFrom({ ...ended.terms, endMs: null }, ended.billedUntilMs)
  if (next === undefined) return undefined
  const dueMs = next.endMs + ended.graceMs
  if (dueMs <= afterMs || dueMs > untilMs) return undefined
  const { subscriptionId, customerId, currency, billedUntilMs, previousMinor } = ended
  return {
    kind: 'missing',
    subscriptionId,
    customerId,
    currency,
    periodStartMs: billedUntilMs,
    periodEndMs: next.endMs,
    offCycle: false,
    lineCount: 0,
    amountMinor: 0n,
    previousMinor,
    reason: null,
  }
}
