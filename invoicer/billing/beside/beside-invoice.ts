import type { Applied } from '../invoices/rated-invoice.ts'
import type { Draft } from '../lines.ts'
import type { Span } from '../unused.ts'

/** What the gateway took for an invoice before it was issued: the attempt, with the key that was asked with. */
export type PaidBy = {
  paymentId: string
  gateway: string
  idempotencyKey: string
  reference: string
  createdAtMs: number
}

/** An invoice that belongs to no subscription and that no run makes, about to be issued. Its period is whole minutes. */
export type BesideInvoice = {
  id: string
  customerId: string
  currency: string
  period: Span
  draft: Draft
  /** What prepaid credit paid of it. */
  creditMinor: bigint
  applied: Applied
  /** Null: it is still to be paid. */
  paidBy: PaidBy | null
}
