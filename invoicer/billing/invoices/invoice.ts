import type { InvoiceTexts } from '../../agreements/invoice-settings/texts.ts'
import type { InvoicePart } from '../consolidated/part.ts'
import type { Counted } from '../counted.ts'
import type { LineBreakdown } from '../lines.ts'
import type { LineTax } from '../tax/tax.ts'
import type { InvoiceState } from './lifecycle.ts'

/** A line as issued. Quantity, events and digest are those of the seal; a flat line has none of them. */
export type InvoiceLine = {
  index: number
  chargeKey: string
  description: string
  meter: string | null
  periodStartMs: number
  periodEndMs: number
  /**
   * Whose charge it is, which need not be the plan of the invoice; of a one-time item that one. Null: no plan made it, and
   * the invoice has none.
   */
  planKey: string | null
  planVersion: number | null
  planHash: string | null
  amountMinor: bigint
  breakdown: LineBreakdown
  usage: { quantity: string; events: number; digest: string; sealId: string; counted: Counted | null } | null
  /** Null: not taxed. */
  tax: LineTax | null
  /** Of a line that a discount made: by which coupon, and the index of the line that it lowers. */
  discount: { id: string; couponKey: string; lowers: number } | null
}

/** `cycle`: the how-many-th invoice of the subscription it is for; null: that is without end. `amountMinor` is 0 or more. */
export type InvoiceDiscountSum = { discountId: string; couponKey: string; cycle: number | null; amountMinor: bigint }

export type Invoice = {
  id: string
  /** Null: suppressed, and shown to nobody who lists invoices. */
  number: string | null
  state: InvoiceState
  /** The key of who issued it; null: the tenant itself. */
  legalEntity: string | null
  /** Who pays it. */
  customer: { id: string; externalKey: string }
  /** Whose subscription it is, where that is somebody else. */
  onBehalfOf: { id: string; externalKey: string } | null
  /** What was gathered into it, in the order of its lines; empty: it has its lines itself. */
  parts: InvoicePart[]
  /** The invoice of which it is a part: that one is to be paid, credited or voided. */
  partOf: string | null
  /** Null: it belongs to no subscription, and has no plan of its own. */
  subscriptionId: string | null
  planKey: string | null
  planVersion: number | null
  planHash: string | null
  currency: string
  /** It bills no usage of its period: what waited, of others, or fees that were due before its end. */
  offCycle: boolean
  periodStartMs: number
  periodEndMs: number
  lines: InvoiceLine[]
  /** What each discount took off, in the order in which they were given. */
  discounts: InvoiceDiscountSum[]
  subtotalMinor: bigint
  taxMinor: bigint
  totalMinor: bigint
  /** What prepaid credit paid of it; the rest is due. */
  creditMinor: bigint
  /** What the customer's balance paid behind that; below 0 what a negative total gave to it. */
  balanceMinor: bigint
  /** What earlier invoices of the customer carried forward to it, and it to the next one. */
  carriedInMinor: bigint
  carriedOutMinor: bigint
  amountDueMinor: bigint
  /** What credit notes gave back of the total, and what of that they took off the amount due. */
  creditedMinor: bigint
  settledMinor: bigint
  finalisedAtMs: number
  paidAtMs: number | null
  voidedAtMs: number | null
  /** Why it was voided or written off, as was last told. */
  changeReason: string | null
  /** The void invoice whose place it took, and the one that took its place. */
  replacesId: string | null
  replacedById: string | null
  texts: InvoiceTexts
  /** Null: no run made it. */
  billingRunId: string | null
}

/** Gapless per tenant or, with a prefix, per legal entity; the text grows past a million, the number decides. */
export function formatInvoiceNumber(number: bigint, prefix = 'INV'): string {
  return `${prefix}-${number.toString().padStart(6, '0')}`
}
