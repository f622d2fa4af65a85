import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney } from '../../../schemas/money.ts'
import { formatQuantity } from '../../../schemas/quantity.ts'
import type { Invoice, InvoiceLine } from '../invoices/invoice.ts'
import { taxAmounts } from '../tax/tax-amounts.ts'
import { partsOfCode } from '../tax/tax-place.ts'
import { loweredBy } from './coupon-steps.ts'
import { explainLine, type LineToExplain } from './explain-line.ts'
import type { ExplainNode } from './node.ts'
import { lineOf, type OpenedInvoice, type OpenedLine } from './open-invoice.ts'
import { discountDifference } from './recompute-discounts.ts'
import { isAsStored, isNothing } from './recompute-line.ts'

export type Explanation = {
  invoice: Invoice
  opened: OpenedLine
  tree: ExplainNode
  tax: ExplainNode | null
  /** What discounts leave of it. */
  discounts: ExplainNode[]
  /** Undefined: plan and usage come to what is stored. */
  difference: string | undefined
}

/** @throws Problem not_found. */
export function explainInvoiceLine(invoice: OpenedInvoice, index: number): Explanation {
  const opened = lineOf(invoice, index)
  const { line, recomputed } = opened
  const { currency } = invoice.invoice
  const zone = invoice.subscription?.terms.zone ?? 'UTC'
  const isRated = recomputed !== undefined && !(recomputed instanceof Problem)
  const tree = explainLine({
    ...{ description: line.description, amountMinor: line.amountMinor, currency, breakdown: line.breakdown },
    ...{ usage: usageOf(opened), startMs: line.periodStartMs, endMs: line.periodEndMs },
    proration: isRated ? { parts: recomputed.parts, basis: { unit: recomputed.plan.prorationBasis, zone } } : null,
  })
  return {
    invoice: invoice.invoice,
    opened,
    tree,
    tax: taxNode(line, currency),
    discounts: loweredBy(invoice.invoice, line),
    difference: differenceOf(opened, currency) ?? differenceOfDiscount(invoice, line),
  }
}

/** What the line itself was counted from; a true-up was counted on the line before it. */
function usageOf({ line, origin, cost }: OpenedLine): LineToExplain['usage'] {
  if (line.meter === null || origin.seal === null || !cost?.usage) return null
  const { quantity, events } = cost.usage
  const [meter, aggregation] = [line.meter, origin.aggregation ?? 'quantity']
  return { meter, aggregation, quantity: formatQuantity(quantity), events, knownBeforeMs: origin.seal.knownBeforeMs }
}

/** Beside the amount, or inside it. Where its own rounding gives another cent, the taxes were rounded together. */
function taxNode({ tax, amountMinor, discount }: InvoiceLine, currency: string): ExplainNode | null {
  if (tax === null) return null
  const { ratePercent, reason, inclusive } = tax
  const { code, region, taxClass } = partsOfCode(tax.code)
  const of = `${region === null ? '' : ` of region ${region}`}${taxClass === null ? '' : ` of class ${taxClass}`}`
  const input = formatMoney(amountMinor, currency)
  const share = inclusive ? `${ratePercent} ÷ (100 + ${ratePercent})` : `${ratePercent} ÷ 100`
  const label = `Tax ${code}${of}, ${reason}, ${inclusive ? 'inside the amount' : 'on top of the amount'}`
  const [alone] = taxAmounts([{ amountMinor, ratePercent, inclusive }], 'per_line')
  const together = discount
    ? `rounded together with line ${discount.lowers}: what is off its tax`
    : 'rounded over the invoice, its part by the largest remainder'
  const rounded = alone === tax.amountMinor ? 'rounded' : together
  return {
    label,
    input,
    rule: `${input} × ${share}, ${rounded}`,
    output: formatMoney(tax.amountMinor, currency),
    parts: [],
  }
}

function differenceOfDiscount({ invoice, discounts }: OpenedInvoice, { index }: InvoiceLine): string | undefined {
  const difference = discountDifference(invoice, discounts)
  if (difference?.line !== index) return undefined
  return `The discounts come to ${difference.expected}, ${difference.found} is stored.`
}

function differenceOf({ cost, recomputed }: OpenedLine, currency: string): string | undefined {
  if (cost === undefined) return undefined
  if (recomputed instanceof Problem) return recomputed.message
  if (recomputed === undefined && isNothing(cost)) return undefined
  if (recomputed === undefined) return 'The plan makes no such line of what is stored.'
  if (isAsStored(recomputed, cost)) return undefined
  const [now, then] = [recomputed.amountMinor, cost.amountMinor].map((minor) => formatMoney(minor, currency))
  return `Plan and usage come to ${now}, ${then} is stored${now === then ? ' with another breakdown' : ''}.`
}
