import { isDeepStrictEqual } from 'node:util'
import { Problem } from '../../../schemas/http/problem.ts'
import { parseMoney } from '../../../schemas/money.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import type { Period } from '../../../schemas/time/period.ts'
import type { Plan } from '../../agreements/plans/plan.ts'
import { periodsFrom } from '../../agreements/subscriptions/periods.ts'
import type { StoredPeriod, Terms } from '../../agreements/subscriptions/subscription.ts'
import type { Draw } from '../commitments/draw.ts'
import type { DrawnThen } from '../commitments/drawn-then.ts'
import { billedPeriod, type ToRate } from '../due.ts'
import type { FeeDifferenceEntry } from '../fees/billed-fee.ts'
import type { AdjustmentEntry } from '../items/invoice-item.ts'
import { draftShares, type Line, type LineBreakdown, linesAhead } from '../lines.ts'
import type { Parts } from '../proration.ts'
import type { Price } from '../rating/price.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { ratable } from '../shares.ts'
import type { MeteredUsage } from '../usage.ts'

/** What a charge of a period came to by what is stored, and what it was rated from. */
export type StoredCost = {
  planId: string
  chargeKey: string
  /** Of the charge: parts of the period may lie behind it. */
  startMs: number
  amountMinor: bigint
  breakdown: LineBreakdown
  usage: MeteredUsage | null
  /** Where it drew a commitment of several periods down: what that was then. */
  drawn?: DrawnThen
}
/** The same, rated once more, the period, and the parts of it that it was rated for. */
export type Recomputed = {
  plan: Plan<Price>
  period: Period
  parts: Parts
  amountMinor: bigint
  breakdown: LineBreakdown
  /** Of a charge with a commitment of several periods, what it draws. */
  draw?: Draw
}

/**
 * A cost once more, from plan and usage alone, by the functions of a billing run. Where one of several possible periods
 * makes what is stored, that one is answered. Undefined: the plan makes no such line.
 */
export function recompute(
  stored: StoredCost,
  subscription: ToRate,
  periods: readonly Period[],
  planOf: PlanOf,
): Recomputed | Problem | undefined {
  try {
    const found = periods.flatMap((period) => rateAgain(stored, subscription, period, planOf) ?? [])
    return found.find((one) => isAsStored(one, stored)) ?? found[0]
  } catch (error) {
    if (error instanceof Problem) return error
    throw error
  }
}

export function isAsStored(recomputed: Recomputed, { amountMinor, breakdown }: StoredCost): boolean {
  return recomputed.amountMinor === amountMinor && isDeepStrictEqual(recomputed.breakdown, breakdown)
}

/**
 * The period of an invoice as a run would bill it, and as one would have where the subscription's end has moved since:
 * then the calendar alone says what the whole was.
 */
export function possiblePeriods(terms: Terms, stored: StoredPeriod): Period[] {
  const [endless] = periodsFrom({ ...terms, endMs: null }, stored.startMs)
  return [billedPeriod(terms, stored), ...(endless ? [{ ...endless, ...stored }] : [])]
}

function rateAgain(stored: StoredCost, subscription: ToRate, period: Period, planOf: PlanOf): Recomputed | undefined {
  const { planId, chargeKey, startMs, usage } = stored
  const { portions } = ratable(subscription, period, planOf)
  const portion = portions.find(({ plan, parts: [first] }) => plan.id === planId && first.startMs === startMs)
  const charge = portion?.plan.charges.find(({ key }) => key === chargeKey)
  if (portion === undefined || charge === undefined || (charge.meter === null) !== (usage === null)) return undefined
  const { plan, parts, held } = portion
  const usageOf = () => {
    if (usage === null) throw new Error(`Charge ${chargeKey} has a meter, and its line no usage.`)
    return usage
  }
  const committed = stored.drawn && { windows: new Map([[charge.key, stored.drawn.window]]), draws: stored.drawn.draws }
  const own = { plan: { ...plan, charges: [charge] }, parts, held, usageOf, zone: subscription.terms.zone }
  const share = { ...own, ...committed }
  const all = [...draftShares([share]).lines, ...linesAhead([share])]
  const lines = all.filter((line) => isWanted(line, stored))
  const draw = all.find((line) => line.draw !== undefined)?.draw
  if (lines.length === 0) return undefined
  const amountMinor = lines.reduce((sum, line) => sum + line.amountMinor, 0n)
  const breakdown = lines.flatMap((line) => line.breakdown)
  return { plan, period, parts, amountMinor, breakdown, ...(draw && { draw }) }
}

/** A line alone or its true-up alone; of an adjustment, which is about both, both. */
function isWanted(line: Pick<Line, 'breakdown'>, stored: Pick<StoredCost, 'breakdown'>): boolean {
  const isTrueUp = line.breakdown[0]?.type === 'true_up'
  const [first, ...rest] = stored.breakdown
  if (first?.type === 'true_up') return isTrueUp
  return !isTrueUp || rest.some(({ type }) => type === 'true_up')
}

/** What a difference says that its fee comes to by now, true-up included. */
export function costOfFee(
  { now }: FeeDifferenceEntry,
  breakdown: LineBreakdown,
  currency: string,
): Pick<StoredCost, 'amountMinor' | 'breakdown' | 'usage'> {
  return { amountMinor: parseMoney(now, currency), breakdown, usage: null }
}

/** A fee of a plan that is no longer on any part of the period: nothing makes a line of it. */
export function isNothing({ amountMinor, breakdown }: Pick<StoredCost, 'amountMinor' | 'breakdown'>): boolean {
  return amountMinor === 0n && breakdown.length === 0
}

/** What an adjustment says that its charge comes to by now, true-up included, before discounts. */
export function costOfAdjustment(
  entry: AdjustmentEntry,
  breakdown: LineBreakdown,
  currency: string,
): Pick<StoredCost, 'amountMinor' | 'breakdown' | 'usage'> {
  const { quantity, events, digest, now, discount, counted } = entry
  return {
    amountMinor: parseMoney(now, currency) + parseMoney(discount ?? '0', currency),
    breakdown,
    usage: { quantity: parseQuantity(quantity), events, digest: BigInt(digest), ...(counted ? { counted } : {}) },
  }
}
