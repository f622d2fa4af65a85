import { formatMoney, roundToMinorOfAnySize } from '../../../schemas/money.ts'
import { parseSum, ZERO } from '../../../schemas/quantity.ts'
import type { CouponEntry } from '../discounts/discount-parts.ts'
import type { Invoice, InvoiceLine } from '../invoices/invoice.ts'
import { type Chain, type ExplainNode, step } from './node.ts'

/** How a discount came to what it takes off one line: off all lines that it lowers, and of that this line's part. */
export function couponSteps(entry: CouponEntry, currency: string): Chain {
  const { coupon, percent, amount_off: amountOff, of, taken, left, amount } = entry
  const all = parseSum(of)
  const exact = percent === undefined ? parseSum(amountOff ?? '0') : all.times(parseSum(percent)).div(100)
  const wanted = formatMoney(roundToMinorOfAnySize(exact, currency), currency)
  const rule = percent === undefined ? `at most ${amountOff}` : `${of} × ${percent} ÷ 100, rounded`
  const most = wanted === taken || percent === undefined ? '' : ', at most what is left of the invoice'
  const start: Chain = { nodes: [], exact: all, text: of }
  const takenOff = step(start, { label: `Coupon ${coupon}`, rule: `${rule}${most}` }, parseSum(taken), taken)
  const part = ZERO.minus(parseSum(amount))
  const share = { label: 'Its part', rule: `${taken} × ${left} ÷ ${of}, by the largest remainder` }
  const partText = formatMoney(roundToMinorOfAnySize(part, currency), currency)
  const own = step(takenOff, share, part, partText)
  return step(own, { label: 'Taken off', rule: `0 - ${partText}` }, parseSum(amount), amount)
}

/** What discounts leave of a line, one behind the other; each stands on a line of its own. */
export function loweredBy({ lines, currency }: Invoice, line: InvoiceLine): ExplainNode[] {
  let leftMinor = line.amountMinor
  return lines.flatMap(({ index, amountMinor, discount }): ExplainNode[] => {
    if (discount === null || discount.lowers !== line.index) return []
    const [input, off] = [leftMinor, -amountMinor].map((minor) => formatMoney(minor, currency))
    leftMinor += amountMinor
    const output = formatMoney(leftMinor, currency)
    const label = `Coupon ${discount.couponKey}, on line ${index}`
    return [{ label, input: input ?? '', rule: `${input} - ${off}`, output, parts: [] }]
  })
}
