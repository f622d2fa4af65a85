import type { LineBreakdown } from '../lines.ts'

/** A line as issued. Quantity, events and digest are those of the seal; a flat line has none of them. */
export type InvoiceLine = {
  index: number
  chargeKey: string
  description: string
  meter: string | null
  periodStartMs: number
  periodEndMs: number
  amountMinor: bigint
  breakdown: LineBreakdown
  usage: { quantity: string; events: number; digest: string; sealId: string } | null
}

export type Invoice = {
  id: string
  number: string
  state: 'finalised' | 'paid' | 'void' | 'uncollectible'
  customer: { id: string; externalKey: string }
  subscriptionId: string
  planKey: string
  currency: string
  periodStartMs: number
  periodEndMs: number
  lines: InvoiceLine[]
  subtotalMinor: bigint
  taxMinor: bigint
  totalMinor: bigint
  amountDueMinor: bigint
  finalisedAtMs: number
  paidAtMs: number | null
  billingRunId: string
}

/** Gapless per tenant; the text grows past a million, the number decides. */
export function formatInvoiceNumber(number: bigint): string {
  return `INV-${number.toString().padStart(6, '0')}`
}
