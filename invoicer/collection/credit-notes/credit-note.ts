import type { InvoiceState } from '../../billing/invoices/lifecycle.ts'

/** What a note takes back of a line: its amount without tax, and its tax. Below 0 for a line that was below 0. */
export type CreditNoteLine = { lineIndex: number; netMinor: bigint; taxMinor: bigint }

export type CreditNote = {
  id: string
  number: string
  invoiceId: string
  customerId: string
  currency: string
  reason: string
  lines: readonly CreditNoteLine[]
  subtotalMinor: bigint
  taxMinor: bigint
  totalMinor: bigint
  /** What it took off the amount that was due; the rest of the total went to the customer's balance. */
  settledMinor: bigint
  balanceMinor: bigint
  issuedAtMs: number
}

/** A line as it was issued, and what notes took back of it. */
export type CreditableLine = {
  lineIndex: number
  /** Of a discount: the line that it lowers, with which alone it is given back. */
  lowersLine: number | null
  /** The line's amount as it was billed has its tax inside. */
  taxInside: boolean
  netMinor: bigint
  taxMinor: bigint
  creditedNetMinor: bigint
  creditedTaxMinor: bigint
}

/** An issued invoice, locked, as a note finds it. */
export type CreditableInvoice = {
  id: string
  customerId: string
  customerKey: string
  /** Null: it belongs to none. */
  subscriptionId: string | null
  /** Who issued it, and with which prefix; both null: the tenant itself. */
  legalEntityId: string | null
  numberPrefix: string | null
  currency: string
  state: InvoiceState
  totalMinor: bigint
  creditedMinor: bigint
  amountDueMinor: bigint
  settledMinor: bigint
  /** A payment of it may still succeed, with all that is due. */
  isBeingPaid: boolean
  lines: readonly CreditableLine[]
}

/** Gapless per tenant or, with a prefix, per legal entity, beside the series of invoices. */
export function formatCreditNoteNumber(number: bigint, prefix: string | null): string {
  return `CN-${prefix === null ? '' : `${prefix}-`}${number.toString().padStart(6, '0')}`
}
