import type { Counted } from '../counted.ts'
import type { LineBreakdown } from '../lines.ts'
import type { LineTerms } from '../tax/tax.ts'
import type { Span } from '../unused.ts'

/** An amount agreed outside of any plan, and how it came about. */
export type OneTimeEntry = { type: 'one_time'; amount: string; quantity?: string; unit_amount?: string }
/** Credit that was bought: what it pays is revenue and taxed, its sale is neither. */
export type PrepaidCreditEntry = { type: 'prepaid_credit'; purchase_id: string; amount: string }
/** A difference to what was billed: `amount` = `now` − `billed`, in major units; quantity and events as known now. */
export type AdjustmentEntry = {
  type: 'adjustment'
  billed: string
  now: string
  /** What discounts of that period take off the charge now, which is not in `now`; left out where that is nothing. */
  discount?: string
  quantity: string
  events: number
  digest: string
  /** What the price needs of single events, and what the line lists of them; left out where that is nothing. */
  counted?: Counted
  seal_id: string
  amount: string
}

/** What waits for the next invoice of a subscription or, where none is named, of any of the customer's. */
export type PendingItem = {
  id: string
  kind: 'one_time' | 'adjustment'
  customerId: string
  subscriptionId: string | null
  /** Of an adjustment: whose charge of which period it corrects, and by which terms that was taxed, if it was. */
  corrects: { planId: string; meter: string; period: Span; tax: LineTerms | null } | null
  chargeKey: string
  description: string
  amountMinor: bigint
  currency: string
  breakdown: LineBreakdown
  createdAtMs: number
  /** What is sold, where its tax is another one. */
  taxClass?: string
  /** Of an adjustment: the legal entity that billed what it corrects, if one did. */
  sellerId: string | null
}
/** One that is about to be stored. */
export type NewPendingItem = Omit<PendingItem, 'createdAtMs' | 'sellerId'>

/** As the API shows one-time items. */
export type OneTimeItem = {
  id: string
  externalKey: string
  customerId: string
  subscriptionId: string | null
  description: string
  amountMinor: bigint
  currency: string
  quantity: string | null
  unitAmount: string | null
  /** What is sold, where its tax is another one. */
  taxClass: string | null
  /** The product whose one-time price it was made with. */
  productKey: string | null
  createdAtMs: number
  invoiceId: string | null
  state: 'pending' | 'invoiced' | 'deleted'
}
