import type { LineBreakdown } from '../lines.ts'
import type { LineTax } from '../tax/tax.ts'

/** A line as issued. Quantity, events and digest are those of the seal; a flat line has none of them. */
export type InvoiceLine = {
  index: number
  chargeKey: string
  description: string
  meter: string | null
  periodStartMs: number
  periodEndMs: number
  /** Whose charge it is, which need not be the plan of the invoice; of a one-time item that one. */
  planKey: string
  planVersion: number
  planHash: string
  amountMinor: bigint
  breakdown: LineBreakdown
  usage: { quantity: string; events: number; digest: string; sealId: string } | null
  /** Null: not taxed. */
  tax: LineTax | null
}

export type Invoice = {
  id: string
  number: string
  state: 'finalised' | 'paid' | 'void' | 'uncollectible'
  /** The key of who issued it; null: the tenant itself. */
  legalEntity: string | null
  customer: { id: string; externalKey: string }
  subscriptionId: string
  planKey: string
  planVersion: number
  planHash: string
  currency: string
  /** It bills no period of its own: what waited, of others. */
  offCycle: boolean
  periodStartMs: number
  periodEndMs: number
  lines: InvoiceLine[]
  subtotalMinor: bigint
  taxMinor: bigint
  totalMinor: bigint
  /** What prepaid credit paid of it; the rest is due. */
  creditMinor: bigint
  /** What the customer's balance paid behind that; below 0 what a negative total gave to it. */
  balanceMinor: bigint
  amountDueMinor: bigint
  /** What credit notes gave back of the total, and what of that they took off the amount due. */
  creditedMinor: bigint
  settledMinor: bigint
  finalisedAtMs: number
  paidAtMs: number | null
  billingRunId: string
}

/** Gapless per tenant or, with a prefix, per legal entity; the text grows past a million, the number decides. */
export function formatInvoiceNumber(number: bigint, prefix = 'INV'): string {
  return `${prefix}-${number.toString().padStart(6, '0')}`
}
