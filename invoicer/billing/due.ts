import type { Period } from '../../schemas/time/period.ts'
import { periodsFrom } from '../agreements/subscriptions/periods.ts'
import type { Phase } from '../agreements/subscriptions/phases.ts'
import type { StoredPeriod, Terms } from '../agreements/subscriptions/subscription.ts'
import type { Draw } from './commitments/draw.ts'
import type { BilledFee } from './fees/billed-fee.ts'
import type { BilledProgress } from './progressive/progress.ts'

/** `consolidates`: what a run issues to it is gathered into one invoice. */
export type Payer = { id: string; key: string; consolidates: boolean }

/** To whom its invoices are issued: whose tax, credit and balance they have. */
export function payerIdOf({ customerId, payer }: Pick<ToRate, 'customerId' | 'payer'>): string {
  return payer?.id ?? customerId
}

/** What rating needs to know of a subscription. `next` is its first period without an invoice, null after the last. */
export type ToRate = {
  id: string
  customerId: string
  customerKey: string
  /** Who pays its invoices; null or left out: its customer, and each for itself. */
  payer?: Payer | null
  subjects: string[]
  /** That of its start, and of every phase that has none of its own. */
  planId: string
  /** In order; before the first it is active on its plan. null: there are none, as of most. */
  phases: readonly Phase[] | null
  /** Raised by every change of the subscription. */
  revision: number
  graceMs: number
  terms: Terms
  next: StoredPeriod | null
  /** When fees of the next period are due on an invoice of their own; null or left out: never. */
  feesDueMs?: number | null
  /** Up to when fees in advance are owed, though it ends before. */
  feesUntilMs?: number | null
  /** What was billed in advance of periods without an invoice of their own, in order; left out: nothing. */
  billedFees?: readonly BilledFee[]
  /** What progressive invoices brought charges of periods to that have no invoice of their own; left out: nothing. */
  progress?: readonly BilledProgress[]
  /** What its charges drew of commitments of several periods, in order; left out: nothing. */
  draws?: readonly Draw[]
}
/** One with at least one period due, or fees of the next one. */
export type DueSubscription = ToRate & { next: StoredPeriod }

/**
 * Due periods in order, the period after them (undefined once the contract has ended), whether that is due too, and why
 * it must not be billed by this run, if so.
 */
export type Due = { periods: Period[]; next: Period | undefined; more: boolean; mismatch: string | undefined }

/**
 * The periods of a subscription, from the first without an invoice, whose end and grace lie at or before `asOfMs`; at
 * most `limit` of them. The contract's end closes the last period, and is followed by grace like any other.
 *
 * The first one is billed as it is stored: the calendar that gave its boundaries may have changed since, when a country
 * changed its clocks. If the calendar has the next period start elsewhere, that starts where the stored one ended all
 * the same, so that no time is left out or billed twice, and the mismatch is told before anybody pays for it.
 */
export function duePeriods(terms: Terms, stored: StoredPeriod, graceMs: number, asOfMs: number, limit: number): Due {
  const isDue = (period: Period) => period.endMs + graceMs <= asOfMs
  const periods: Period[] = []
  for (const computed of periodsFrom(terms, middleOf(stored))) {
    const previous = periods.at(-1)
    // A contract's end that lies a little behind the calendar's boundary now leaves no period after it.
    if (previous !== undefined && computed.endMs <= previous.endMs) continue
    const period = previous === undefined ? asStored(computed, stored, terms) : computed
    if (previous !== undefined && period.startMs !== previous.endMs) {
      const next = { ...period, startMs: previous.endMs, wholeStartMs: previous.endMs }
      return { periods, next, more: false, mismatch: mismatchOf(previous, period, terms) }
    }
    if (!isDue(period) || periods.length === limit) {
      return { periods, next: period, more: isDue(period), mismatch: undefined }
    }
    periods.push(period)
  }
  return { periods, next: undefined, more: false, mismatch: undefined }
}

/** A period of the past as it was billed. */
export function billedPeriod(terms: Terms, stored: StoredPeriod): Period {
  const [computed] = periodsFrom(terms, middleOf(stored))
  if (computed !== undefined) return asStored(computed, stored, terms)
  return { index: 0, ...stored, wholeStartMs: stored.startMs, wholeEndMs: stored.endMs }
}

/** An instant that lies in the same period before and after a change of clocks. */
function middleOf({ startMs, endMs }: StoredPeriod): number {
  return startMs + (endMs - startMs) / 2
}

/** Only its own start and end, or periods that begin anew, make one shorter than the whole; a change of clocks does not. */
function asStored(computed: Period, { startMs, endMs }: StoredPeriod, terms: Terms): Period {
  const isCutAt = (ms: number) => terms.later?.some((anew) => anew.startMs === ms) === true
  const wholeStartMs = startMs === terms.startMs || isCutAt(startMs) ? computed.wholeStartMs : startMs
  const wholeEndMs = endMs === terms.endMs || isCutAt(endMs) ? computed.wholeEndMs : endMs
  return { index: computed.index, startMs, endMs, wholeStartMs, wholeEndMs }
}

function mismatchOf(previous: Period, next: Period, { zone }: Terms): string {
  const [ends, starts] = [previous.endMs, next.startMs].map((ms) => new Date(ms).toISOString())
  return (
    `The stored period ends at ${ends}, but by the calendar of ${zone} the next one starts at ${starts}: ` +
    `see whether it may be billed from ${ends}, as the next run will do.`
  )
}
