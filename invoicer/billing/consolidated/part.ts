/** An invoice of a subscription that became a part of one for its payer: its lines from `firstLine` on. */
export type InvoicePart = {
  invoiceId: string
  subscriptionId: string
  /** Whose subscription it is. */
  customer: { id: string; externalKey: string }
  offCycle: boolean
  periodStartMs: number
  periodEndMs: number
  firstLine: number
  lineCount: number
  subtotalMinor: bigint
  taxMinor: bigint
  totalMinor: bigint
}
