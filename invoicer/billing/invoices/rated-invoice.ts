import type { Period } from '../../../schemas/time/period.ts'
import type { Plan } from '../../agreements/plans/plan.ts'
import type { AppliedDiscount } from '../discounts/discounted.ts'
import type { DueSubscription } from '../due.ts'
import type { Draft } from '../lines.ts'
import type { Price } from '../rating/price.ts'

/** An invoice that is rated and not yet stored. `next` is the period after it, null once the contract has ended. */
export type RatedInvoice = {
  subscription: DueSubscription
  plan: Plan<Price>
  period: Period
  next: Period | null
  draft: Draft
  /** Those that its period has, their lines in the draft; none: it has none. */
  discounts?: readonly AppliedDiscount[]
  /** An invoice of its own for what waited, or for fees that are due, beside the periods of its subscription. */
  offCycle?: true
  /** It bills what a period came to so far, inside of it: beside the periods, and as whoever rated its subscription found it. */
  progressive?: true
  /** It bills the fees of the period that are due before it is over: `next` is that period, and its claim is that of the
   * subscription, as of invoices of periods. */
  claimsFees?: true
  /** When fees of `next` are due on an invoice of their own; null or left out: never, this one has them if there are any. */
  feesDueMs?: number | null
  /** The void invoice whose place it takes: its period was billed before, and its subscription has moved on. */
  replaces?: string
}

/**
 * What was done about the amount of an invoice when it was issued, behind prepaid credit: what the customer's balance paid,
 * below 0 what a negative total gave to it; what earlier invoices carried forward to it, and it to the next one.
 */
export type Applied = { balanceMinor: bigint; carriedInMinor: bigint; carriedOutMinor: bigint }
export const NOTHING_APPLIED: Applied = { balanceMinor: 0n, carriedInMinor: 0n, carriedOutMinor: 0n }

/** With the id it will have. */
export type NewInvoice = RatedInvoice & { id: string }
