import type { OncePaid } from '../former-payer.ts'
import type { LineTerms } from '../tax/tax.ts'
import type { Span } from '../unused.ts'

/**
 * What a line billed of a fee in advance, or gave back of it, and by which terms that was taxed, if it was. Several of a
 * charge and a period add up to what is billed of it by now.
 */
export type BilledFee = {
  /** Undefined: of the same pass, not issued yet. */
  invoiceId?: string
  planId: string
  chargeKey: string
  description: string
  /** Of the period whose fee it is. */
  periodStartMs: number
  /** What the line was served for. */
  served: Span
  /** Before discounts: of one that gives back, by how much the fee is less. */
  amountMinor: bigint
  /** What discounts took off the line, 0 or less; of one that gives back, the part of them that it left out, 0 or more. */
  discountMinor: bigint
  tax: LineTerms | null
  /** The legal entity that billed it, if one did. */
  sellerId: string | null
} & OncePaid

/**
 * A fee as it is now, less what was billed of it in advance, in major units: `amount` = `now` − `billed`. Of what is given
 * back, `discount` is the part of discounts that was never paid; then `amount` is so much nearer to 0.
 */
export type FeeDifferenceEntry = {
  type: 'fee_difference'
  billed: string
  now: string
  discount?: string
  amount: string
}
