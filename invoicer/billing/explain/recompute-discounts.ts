import { isDeepStrictEqual } from 'node:util'
import { formatMoney } from '../../../schemas/money.ts'
import { type DiscountPart, discountParts } from '../discounts/discount-parts.ts'
import type { DueDiscount } from '../discounts/in-force.ts'
import type { Invoice, InvoiceLine } from '../invoices/invoice.ts'

/** The first thing about an invoice's discounts that is not as its other lines and what was given make it. */
export type DiscountDifference = { line: number | null; what: string; expected: string; found: string }

/** `due`: those that its period has, as they were known when it was made. */
export function discountDifference(invoice: Invoice, due: readonly DueDiscount[]): DiscountDifference | undefined {
  const { currency } = invoice
  const lines = invoice.lines.filter(({ discount }) => discount === null)
  const parts = discountParts(lines, due, currency)
  const stored = invoice.lines.filter(({ discount }) => discount !== null)
  for (const [place, line] of stored.entries()) {
    const difference = inLine(line, lines, parts[place], currency)
    if (difference !== undefined) return { line: line.index, ...difference }
  }
  const missing = parts[stored.length]
  if (missing !== undefined) {
    return { line: null, what: 'discount', expected: shownPart(missing, lines, currency), found: 'no such line' }
  }
  return inSums(invoice, due, parts)
}

function inLine(line: InvoiceLine, lines: readonly InvoiceLine[], part: DiscountPart | undefined, currency: string) {
  const coupon = JSON.stringify(line.discount?.couponKey)
  const found = `${formatMoney(line.amountMinor, currency)} by coupon ${coupon} off line ${line.discount?.lowers}`
  const expected = part === undefined ? 'no such line' : shownPart(part, lines, currency)
  if (expected !== found) return { what: 'discount', expected, found }
  if (isDeepStrictEqual(line.breakdown, [part?.entry])) return undefined
  return { what: 'breakdown', expected: JSON.stringify([part?.entry]), found: JSON.stringify(line.breakdown) }
}

function shownPart({ discount, lowers, amountMinor }: DiscountPart, lines: readonly InvoiceLine[], currency: string) {
  const coupon = JSON.stringify(discount.couponKey)
  return `${formatMoney(-amountMinor, currency)} by coupon ${coupon} off line ${lines[lowers]?.index}`
}

function inSums({ discounts, currency }: Invoice, due: readonly DueDiscount[], parts: readonly DiscountPart[]) {
  const shown = (couponKey: string, cycle: number | null, minor: bigint) =>
    `${couponKey}${cycle === null ? '' : ` (${cycle})`}: ${formatMoney(minor, currency)}`
  const expected = due.map(({ id, couponKey, cycle }) => {
    const own = parts.filter(({ discount }) => discount.id === id)
    return shown(
      couponKey,
      cycle,
      own.reduce((sum, { amountMinor }) => sum + amountMinor, 0n),
    )
  })
  const found = discounts.map(({ couponKey, cycle, amountMinor }) => shown(couponKey, cycle, amountMinor))
  const [right, seen] = [expected, found].map((texts) => texts.sort().join(', ') || 'none')
  if (right === undefined || seen === undefined || right === seen) return undefined
  return { line: null, what: 'discounts', expected: right, found: seen }
}
