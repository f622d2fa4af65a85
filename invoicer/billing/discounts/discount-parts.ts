import { allocate, formatMoney, moneyAsQuantity, roundToMinor } from '../../../schemas/money.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import type { Off } from '../../agreements/coupons/coupon.ts'
import type { LineBreakdown } from '../lines.ts'

/** A discount as far as one invoice looks at it. */
export type InvoiceDiscount = Off & { id: string; couponKey: string; charges: readonly string[] | null }

/**
 * How a part of a discount came about, in major units: it took `taken` off all lines that it lowers, which before it came
 * to `of`, and of one of them, which before it came to `left`, its part: minus `amount`.
 */
export type CouponEntry = {
  type: 'coupon'
  coupon: string
  percent?: string
  amount_off?: string
  of: string
  taken: string
  left: string
  amount: string
}
/** What of a discount comes off one line, above 0. `lowers` is that line's place. */
export type DiscountPart = { discount: InvoiceDiscount; lowers: number; amountMinor: bigint; entry: CouponEntry }
/** What of a line decides over its discounts. */
export type DiscountableLine = { chargeKey: string; amountMinor: bigint; breakdown: LineBreakdown }

/**
 * What discounts take off the lines of an invoice, each off what the ones before it left: those of named charges, then
 * those of all lines; among each first percentages, then amounts; then by age. Each is rounded once, split over its lines
 * by largest remainder, and takes no line below 0, nor the invoice as it is without corrections; what is left of an amount
 * then is lost. Lines below 0 are never lowered. Corrections, of late usage, of fees that are given back and of what
 * progressive invoices billed, are left out of all: what was off those is inside them. So what an invoice gives back may
 * still take it below 0.
 */
export function discountParts(
  lines: readonly DiscountableLine[],
  discounts: readonly InvoiceDiscount[],
  currency: string,
): DiscountPart[] {
  const left = lines.map((line) => (isCorrection(line) ? 0n : line.amountMinor))
  const parts: DiscountPart[] = []
  for (const discount of inOrder(discounts)) {
    const weights = lines.map((line, place) => (lowers(discount, line) ? most(left[place] ?? 0n, 0n) : 0n))
    const ofMinor = sum(weights)
    const takenMinor = least(wantedMinor(discount, ofMinor, currency), least(ofMinor, most(sum(left), 0n)))
    if (takenMinor === 0n) continue
    const texts = entryTexts(discount, ofMinor, takenMinor, currency)
    for (const [place, amountMinor] of allocate(takenMinor, weights).entries()) {
      if (amountMinor === 0n) continue
      const leftMinor = left[place] ?? 0n
      left[place] = leftMinor - amountMinor
      const entry = { ...texts, left: formatMoney(leftMinor, currency), amount: formatMoney(-amountMinor, currency) }
      parts.push({ discount, lowers: place, amountMinor, entry })
    }
  }
  return parts
}

/** As they are taken, whatever order they come in; ids are in the order of age. */
function inOrder<D extends InvoiceDiscount>(discounts: readonly D[]): D[] {
  const rank = ({ charges, percent }: D) => (charges === null ? 2 : 0) + (percent === null ? 1 : 0)
  return [...discounts].sort((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))
}

/** A one-time item may have the key of a charge, and is none. */
function lowers({ charges }: Pick<InvoiceDiscount, 'charges'>, line: DiscountableLine): boolean {
  return charges === null || (charges.includes(line.chargeKey) && line.breakdown[0]?.type !== 'one_time')
}

function isCorrection({ breakdown, amountMinor }: DiscountableLine): boolean {
  const type = breakdown[0]?.type
  return type === 'adjustment' || type === 'progressive' || (type === 'fee_difference' && amountMinor < 0n)
}

function wantedMinor({ percent, amountMinor }: InvoiceDiscount, ofMinor: bigint, currency: string): bigint {
  if (percent === null) return amountMinor
  return roundToMinor(moneyAsQuantity(ofMinor, currency).times(parseQuantity(percent)).div(100), currency)
}

function entryTexts(discount: InvoiceDiscount, ofMinor: bigint, takenMinor: bigint, currency: string) {
  const { percent, couponKey: coupon } = discount
  const off = percent === null ? { amount_off: formatMoney(discount.amountMinor, currency) } : { percent }
  const [of, taken] = [formatMoney(ofMinor, currency), formatMoney(takenMinor, currency)]
  return { type: 'coupon' as const, coupon, ...off, of, taken }
}

function sum(amounts: readonly bigint[]): bigint {
  return amounts.reduce((total, amount) => total + amount, 0n)
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

function most(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}
