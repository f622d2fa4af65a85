import type { CreditScope, Rollover } from './terms.ts'

/** Prepaid credit of a customer, in minor units of its currency. amount = remaining + the sum of its uses, always. */
export type CreditGrant = {
  id: string
  /** Null: of a schedule, or rolled over. */
  externalKey: string | null
  customerId: string
  name: string | null
  currency: string
  amountMinor: bigint
  remainingMinor: bigint
  /** What the customer had right behind this grant, itself included. */
  balanceMinor: bigint
  /** The lowest pays first, then what expires first, then the oldest. */
  priority: number
  expiresAtMs: number | null
  /** Null: it pays anything. */
  scope: CreditScope | null
  /** Null: what is left of it expires. */
  rollover: Rollover | null
  scheduleId: string | null
  /** Which of its schedule's it is; null for what rolled over from one of these. */
  scheduleIndex: number | null
  /** The grant of which this was left. */
  rolledFrom: string | null
  /** The purchase that paid for it. */
  purchaseId: string | null
  /** From when on it pays: of a schedule its own time, though it may have been given later. */
  createdAtMs: number
}

/** Where credit of a grant went; below 0 what came back, because the invoice that drew it is void. */
export type CreditUse = {
  id: string
  grantId: string
  kind: 'drawn' | 'expired' | 'rolled' | 'returned' | 'refunded'
  amountMinor: bigint
  invoiceId: string | null
  /** The grant that it became. */
  toGrantId: string | null
  atMs: number
}

/** A part of an invoice that a grant pays. */
export type CreditDraw = { grantId: string; invoiceId: string; amountMinor: bigint }

/** Credit that can pay: what is left of a grant, in the order in which a customer's grants pay. */
export type OpenCredit = {
  grantId: string
  customerId: string
  currency: string
  remainingMinor: bigint
  scope: CreditScope | null
}
