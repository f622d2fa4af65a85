import type { CreditScope } from '../credits/terms.ts'

/** In whose calendar unit purchases are counted. */
export const PER = ['day', 'week', 'month'] as const

/** What is bought for a customer by itself, in minor units of its currency. */
export type TopUpRule = {
  customerId: string
  currency: string
  /** Below it there is too little. */
  thresholdMinor: bigint
  amountMinor: bigint
  /** So many at most in a calendar day, week or month of the customer. */
  mostPurchases: number
  per: (typeof PER)[number]
  priority: number
  /** Null: what is bought never expires. */
  expiresAfterDays: number | null
  scope: CreditScope | null
  /** In a row. */
  declines: number
  /** After a decline nothing is bought before then. */
  retryAtMs: number | null
  /** After the last one nothing is bought at all, until the rule is set again. */
  suspendedAtMs: number | null
  reason: string | null
  updatedAtMs: number
}

/** A purchase of credit: paid it is a grant. Its id is the key with which the gateway is asked, each time. */
export type Purchase = Pick<
  TopUpRule,
  'customerId' | 'currency' | 'amountMinor' | 'priority' | 'expiresAfterDays' | 'scope'
> & {
  id: string
  /** What was available when it was opened. */
  availableMinor: bigint
  gateway: string
  state: 'created' | 'paid' | 'declined'
  reference: string | null
  reason: string | null
  createdAtMs: number
  settledAtMs: number | null
  /** Of one that somebody asked for; null: by a rule. */
  externalKey: string | null
  /** Null: not paid, or from before purchases had invoices. */
  invoiceId: string | null
}
