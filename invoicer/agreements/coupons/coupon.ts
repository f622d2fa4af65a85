/** What comes off: a percentage, as a plain decimal above 0 and up to 100, or an amount in one currency. */
export type Off =
  | { percent: string; amountMinor: null; currency: null }
  | { percent: null; amountMinor: bigint; currency: string }

/** What may be given off invoices. Its content never changes once it is stored. */
export type Coupon = Off & {
  id: string
  key: string
  /** Invoices show it. */
  name: string
  /** How many invoiced periods of a subscription it lasts; null: for ever. */
  cycles: number | null
  /** The charges whose lines it lowers; null: all lines of the invoice. */
  charges: readonly string[] | null
  /** The last instant at which it is given. */
  redeemByMs: number | null
  /** How often it is given at most, and how often it was. */
  maxRedemptions: number | null
  redemptions: number
  /** From then on it is not given any more; discounts by it go on. */
  archivedAtMs: number | null
  createdAtMs: number
}

/**
 * A coupon that was given to a subscription or, where none is named, to all of a customer's. It is on the invoice of a
 * period if it is in force as the period ends.
 */
export type Discount = {
  id: string
  externalKey: string
  couponId: string
  couponKey: string
  customerId: string
  subscriptionId: string | null
  startMs: number
  /** From then on it is over; null: not known yet. */
  endMs: number | null
  createdAtMs: number
}
