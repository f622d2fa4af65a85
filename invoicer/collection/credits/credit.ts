/** Prepaid credit of a customer, in minor units of its currency. amount = remaining + drawn + expired, always. */
export type CreditGrant = {
  id: string
  externalKey: string
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
  createdAtMs: number
}

/** Where credit of a grant went. */
export type CreditUse = {
  id: string
  grantId: string
  kind: 'drawn' | 'expired'
  amountMinor: bigint
  invoiceId: string | null
  atMs: number
}

/** A part of an invoice that a grant pays. */
export type CreditDraw = { grantId: string; invoiceId: string; amountMinor: bigint }

/** Credit that can pay: what is left of a grant, in the order in which a customer's grants pay. */
export type OpenCredit = { grantId: string; customerId: string; currency: string; remainingMinor: bigint }
