import { Problem } from '../../../schemas/http/problem.ts'
import { type Draw, drawnBy } from '../commitments/draw.ts'
import { offNow } from '../discounts/charge-discounts.ts'
import { billedPeriod, type ToRate } from '../due.ts'
import { draftShares, type LineBreakdown } from '../lines.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { type RatablePeriod, ratable, sharesOf, usageRequests } from '../shares.ts'
import type { MeteredUsage, UsageRequest } from '../usage.ts'
import type { BilledCharge } from './late.postgres.ts'

/** An invoice some of whose charges may cost something else by now, and the period it bills. */
export type BilledInvoice = {
  id: string
  subscription: ToRate
  charges: readonly BilledCharge[]
  period: RatablePeriod
}

/** What a charge costs now, its true-up included, behind what discounts take off it, and from which usage. */
export type CostNow = {
  charge: BilledCharge
  nowMinor: bigint
  offMinor: bigint
  usage: MeteredUsage
  breakdown: LineBreakdown
  /** What it is brought to of a commitment of several periods, if that is another than before, and as its subscription is. */
  draw?: Draw & { revision: number; isUsed: boolean }
}

/** Charges of a subscription that cannot be rated again, or not be kept as they are rated; and why. */
export type Unratable = {
  subscription: ToRate
  charges: readonly BilledCharge[]
  periodStartMs: number
  reason: string
}

/** Invoices of charges, as their subscriptions were billed then; a plan that cannot be rated is told to `refused`. */
export function billedInvoices(
  charges: readonly BilledCharge[],
  subscriptions: readonly ToRate[],
  planOf: PlanOf,
  refused: Unratable[],
): BilledInvoice[] {
  const toRate = new Map(subscriptions.map((subscription) => [subscription.id, subscription]))
  const ofInvoice = new Map<string, BilledCharge[]>()
  for (const charge of charges) {
    const together = ofInvoice.get(charge.invoice.id)
    if (together) together.push(charge)
    else ofInvoice.set(charge.invoice.id, [charge])
  }
  return [...ofInvoice].flatMap(([id, together]) => {
    const [first] = together
    const subscription = first && toRate.get(first.subscriptionId)
    if (first === undefined || subscription === undefined) return []
    return orRefuse(refused, subscription, together, () => {
      const period = ratable(subscription, billedPeriod(subscription.terms, first.invoice.period), planOf)
      return [{ id, subscription, charges: together, period }]
    })
  })
}

/** Of all its meters: a charge may share its invoice's rating with any other. */
export function requestsOf({ id, subscription, period }: BilledInvoice): UsageRequest[] {
  return usageRequests(id, subscription.subjects, period)
}

/**
 * The charges of invoices by the prices they were made from and all usage known now. Whatever else is on them stays. What the
 * earlier of them draw of a commitment, the later ones find drawn: `drawsOf` says what was, by subscription.
 */
export function rateAgain(
  invoices: readonly BilledInvoice[],
  answers: ReadonlyMap<string, MeteredUsage>,
  refused: Unratable[],
  drawsOf: ReadonlyMap<string, readonly Draw[]> = new Map(),
): CostNow[] {
  const drawn = new Map([...drawsOf].map(([id, draws]) => [id, [...draws]]))
  return invoices.flatMap((invoice) =>
    orRefuse(refused, invoice.subscription, invoice.charges, () => {
      const own = drawn.get(invoice.subscription.id) ?? []
      const costs = costsNow(invoice, answers, own)
      own.push(...costs.flatMap(({ draw }) => draw ?? []))
      return costs
    }),
  )
}

function costsNow(
  { id, subscription, charges, period }: BilledInvoice,
  answers: ReadonlyMap<string, MeteredUsage>,
  draws: readonly Draw[],
): CostNow[] {
  const shares = sharesOf(id, period, answers, subscription.terms.zone)
  const { lines } = draftShares(shares.map((share) => ({ ...share, draws })))
  return charges.map((charge) => {
    const own = lines.filter(
      (line) =>
        line.planId === charge.planId &&
        line.chargeKey === charge.chargeKey &&
        line.period.startMs === charge.period.startMs,
    )
    const usage = own[0]?.usage
    if (!usage) throw new Problem('calculation_failed', `Charge ${JSON.stringify(charge.chargeKey)} is not there.`)
    const grossMinor = own.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
    const offMinor = charge.discounts === null ? 0n : offNow(charge.discounts, grossMinor, charge.currency)
    return {
      charge,
      nowMinor: grossMinor - offMinor,
      offMinor,
      usage,
      breakdown: own.flatMap(({ breakdown }) => breakdown),
      ...changedDraw(own[0]?.draw, draws, subscription.revision),
    }
  })
}

/**
 * One that differs, or that says that it was looked at since the last one: that was void, left a rest, or knew another
 * revision. `isUsed`: because of usage, not of what others drew, or what became of the subscription.
 */
function changedDraw(draw: Draw | undefined, draws: readonly Draw[], revision: number): Pick<CostNow, 'draw'> {
  if (draw === undefined) return {}
  const before = drawnBy(draws, draw)
  const last = draws.findLast(({ planId, chargeKey }) => planId === draw.planId && chargeKey === draw.chargeKey)
  const isSeen = last !== undefined && !last.isVoid && last.restMinor === 0n && (last.revision ?? revision) >= revision
  const members = ['baseMinor', 'amountMinor', 'restMinor', 'servedUntilMs'] as const
  if (isSeen && before !== undefined && members.every((name) => before[name] === draw[name])) return {}
  return { draw: { ...draw, revision, isUsed: before?.baseMinor !== draw.baseMinor } }
}

function orRefuse<T>(
  refused: Unratable[],
  subscription: ToRate,
  charges: readonly BilledCharge[],
  work: () => T[],
): T[] {
  try {
    return work()
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error)
    refused.push(unratable(subscription, charges, said))
    return []
  }
}

export function unratable(subscription: ToRate, charges: readonly BilledCharge[], said: string): Unratable {
  const periodStartMs = charges[0]?.invoice.period.startMs ?? 0
  return { subscription, charges, periodStartMs, reason: `Its late usage cannot be billed: ${said}` }
}
