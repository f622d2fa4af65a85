import { Problem } from '../../schemas/http/problem.ts'
import { roundToMinor } from '../../schemas/money.ts'
import { formatQuantity, isQuantityText, parseQuantity, ZERO } from '../../schemas/quantity.ts'
import type { Period } from '../../schemas/time/period.ts'
import type { Charge, Plan } from '../agreements/plans/plan.ts'
import { isCut, type ProrationEntry, proratedMinor, prorationCut, prorationEntry, tierFlats } from './proration.ts'
import type { BreakdownEntry, Price } from './rating/price.ts'
import { rateCharge, rateExact } from './rating/rate.ts'
import type { MeteredUsage } from './usage.ts'

export type LineBreakdown = (BreakdownEntry | ProrationEntry)[]

/** One charge makes one line. `usage` is what the line was made from; a flat price needs none. */
export type Line = {
  chargeKey: string
  description: string
  meter: string | null
  amountMinor: bigint
  breakdown: LineBreakdown
  usage: MeteredUsage | null
}
export type Totals = { subtotalMinor: bigint; taxMinor: bigint; totalMinor: bigint; amountDueMinor: bigint }
export type Draft = Totals & { lines: Line[] }

/** What Postgres keeps in a bigint. */
const MAX_MINOR = 2n ** 63n - 1n

/**
 * The invoice of one period: every charge of the plan in its order, and the totals.
 * @throws Problem calculation_failed when the amounts cannot stand on an invoice; its subscription is then parked.
 */
export function draftInvoice(plan: Plan<Price>, period: Period, usageOf: (meter: string) => MeteredUsage): Draft {
  const lines = plan.charges.map((charge) => {
    const usage = charge.meter === null ? null : usageOf(charge.meter)
    const { amountMinor, breakdown } = rateLine(charge, usage, period, plan.currency)
    const { key: chargeKey, name: description, meter } = charge
    return { chargeKey, description, meter, amountMinor, breakdown, usage }
  })
  const subtotalMinor = lines.reduce((sum, line) => sum + line.amountMinor, 0n)
  const taxMinor = 0n
  const totalMinor = subtotalMinor + taxMinor
  const draft = { lines, subtotalMinor, taxMinor, totalMinor, amountDueMinor: totalMinor }
  checkDraft(draft)
  return draft
}

/** The invariants of an invoice (design §4.6), checked on what will be stored. */
export function checkDraft(draft: Draft): void {
  const sumMinor = draft.lines.reduce((sum, line) => sum + line.amountMinor, 0n)
  if (sumMinor !== draft.subtotalMinor || draft.subtotalMinor + draft.taxMinor !== draft.totalMinor) {
    throw new Problem('calculation_failed', `Lines of ${sumMinor} and a total of ${draft.totalMinor} differ.`)
  }
  if (draft.totalMinor < 0n) {
    throw new Problem('calculation_failed', `The total is negative (${draft.totalMinor}); there are no balances yet.`)
  }
  const amounts = [...draft.lines.map((line) => line.amountMinor), draft.totalMinor]
  if (amounts.some((amount) => amount > MAX_MINOR || amount < -MAX_MINOR)) {
    throw new Problem('calculation_failed', 'An amount is too large to be stored.')
  }
  // The digits of a quantity on the wire are those of its numeric(38, 12).
  const endless = draft.lines.find(({ usage }) => usage !== null && !isQuantityText(formatQuantity(usage.quantity)))
  if (endless !== undefined) {
    throw new Problem(
      'calculation_failed',
      `The quantity of charge ${JSON.stringify(endless.chargeKey)} has more digits than can be stored.`,
    )
  }
}

/**
 * The one rounding of a line. A flat price is prorated where the period is cut; usage never is, but the flat amounts of
 * its tiers are.
 */
function rateLine(
  charge: Charge<Price>,
  usage: MeteredUsage | null,
  period: Period,
  currency: string,
): { amountMinor: bigint; breakdown: LineBreakdown } {
  const { price } = charge
  const quantity = usage?.quantity ?? ZERO
  if (!isCut(period)) return rateCharge(price, quantity, currency)
  const { exact, breakdown } = rateExact(price, quantity)
  if (price.model === 'flat') {
    const amount = parseQuantity(price.amount)
    const entry = prorationEntry(amount, period)
    return { amountMinor: proratedMinor(amount, period, currency), breakdown: [...breakdown, entry] }
  }
  const flats = tierFlats(breakdown)
  if (flats.isZero()) return { amountMinor: roundToMinor(exact, currency), breakdown }
  const amountMinor = roundToMinor(exact.plus(prorationCut(flats, period)), currency)
  return { amountMinor, breakdown: [...breakdown, prorationEntry(flats, period)] }
}
