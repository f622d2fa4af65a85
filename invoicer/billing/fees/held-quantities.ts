import { formatMoney, moneyAsQuantity, roundToMinor } from '../../../schemas/money.ts'
import { formatQuantity, parseQuantity, type Quantity } from '../../../schemas/quantity.ts'
import type { Period } from '../../../schemas/time/period.ts'
import type { Charge } from '../../agreements/plans/plan.ts'
import { own, type Quantities } from '../../agreements/subscriptions/quantities.ts'
import { isCut, type ProrationEntry, proratedMinor, prorationEntry } from '../proration.ts'
import { atMost } from '../rating/bounds.ts'
import type { BreakdownEntry } from '../rating/breakdown.ts'
import type { Price } from '../rating/price.ts'
import { rateExact } from '../rating/rate.ts'
import type { ProrationBasis } from '../unused.ts'

/**
 * What holds in a part of a period: quantities of charges, of those that are not named their default; of an add-on, how many
 * of it: its fees are charged so often.
 */
export type Held = { part: Period; quantities?: Quantities; addOnQuantity?: string }
/**
 * From when to when a fee had which quantity, and what that cost, rounded: the amount of a line is the sum of these, at most
 * its maximum, which stands last. How each came about stands behind it.
 */
export type QuantityEntry = { type: 'quantity'; quantity: string; start: string; end: string; amount: string }

type Run = { part: Period; quantity: string }

/**
 * What of a portion each of its fees had how much of; undefined where its price alone says what it costs: one of usage, or
 * flat and none of an add-on.
 */
export function runsOf({ key, meter, quantity }: Charge<Price>, held: readonly Held[]): Run[] | undefined {
  if (meter !== null) return undefined
  if (quantity === undefined && held.every(({ addOnQuantity }) => addOnQuantity === undefined)) return undefined
  const runs: Run[] = []
  for (const { part, quantities = {}, addOnQuantity } of held) {
    const text = formatQuantity(parseQuantity(addOnQuantity ?? own(quantities, key) ?? quantity?.default ?? '1'))
    const before = runs.at(-1)
    const goesOn = before?.quantity === text && before.part.endMs === part.startMs
    if (goesOn) runs[runs.length - 1] = { quantity: text, part: { ...before.part, endMs: part.endMs } }
    else runs.push({ quantity: text, part })
  }
  return runs
}

/**
 * A fee whose quantity changes: each run of one costs unused(start) − unused(end) of the price of so much, behind its
 * discount. The maximum is one of all runs.
 */
export function rateRuns(
  { price }: Charge<Price>,
  runs: readonly Run[],
  basis: ProrationBasis,
  currency: string,
): { amountMinor: bigint; breakdown: (QuantityEntry | BreakdownEntry | ProrationEntry)[] } {
  const { maximum_amount: maximum, ...unbounded } = asPrice(price)
  const rated = runs.map(({ part, quantity }) => {
    const { exact, breakdown } = rateExact(unbounded, parseQuantity(quantity))
    const amountMinor = runMinor(exact, part, basis, currency)
    const [start, end] = [part.startMs, part.endMs].map((ms) => new Date(ms).toISOString())
    const amount = formatMoney(amountMinor, currency)
    const entry: QuantityEntry = { type: 'quantity', quantity, start: start ?? '', end: end ?? '', amount }
    const proration = isCut([part]) ? [prorationEntry(exact, [part], basis)] : []
    return { amountMinor, breakdown: [entry, ...breakdown, ...proration] }
  })
  const breakdown = rated.flatMap((run) => run.breakdown)
  const sumMinor = rated.reduce((sum, run) => sum + run.amountMinor, 0n)
  const amountMinor = atMost(maximum, sumMinor, currency)
  if (maximum === undefined || amountMinor === sumMinor) return { amountMinor, breakdown }
  const most = formatQuantity(parseQuantity(maximum))
  const amount = formatQuantity(moneyAsQuantity(amountMinor - sumMinor, currency))
  return { amountMinor, breakdown: [...breakdown, { type: 'maximum', maximum_amount: most, amount }] }
}

function runMinor(exact: Quantity, part: Period, basis: ProrationBasis, currency: string): bigint {
  return isCut([part]) ? proratedMinor(exact, [part], basis, currency) : roundToMinor(exact, currency)
}

/** A flat fee of an add-on costs its amount for each; nothing is included in it. */
function asPrice(price: Price): Price {
  if (price.model !== 'flat') return price
  const { amount, included_units: _, model: __, ...bounds } = price
  return { model: 'per_unit', unit_amount: amount, ...bounds }
}
