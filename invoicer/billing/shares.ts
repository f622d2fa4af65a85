import { Problem } from '../../schemas/http/problem.ts'
import type { Period } from '../../schemas/time/period.ts'
import type { Plan } from '../agreements/plans/plan.ts'
import type { Phase } from '../agreements/subscriptions/phases.ts'
import { type CommitmentWindow, commitmentWindow } from './commitments/commitment-window.ts'
import type { Draw } from './commitments/draw.ts'
import { detailOf, type EventDetail } from './counted.ts'
import type { ToRate } from './due.ts'
import type { Held } from './fees/held-quantities.ts'
import type { Committed, Share } from './lines.ts'
import type { Parts } from './proration.ts'
import { isOfSeveralPeriods } from './rating/bounds.ts'
import type { Price } from './rating/price.ts'
import type { PlanOf } from './run/rate-chunk.ts'
import type { Span } from './unused.ts'
import { type MeteredUsage, NO_USAGE, requestOf, type UsageRequest } from './usage.ts'

/** What says what of a period is charged, and what was drawn before it. */
type Agreed = Pick<ToRate, 'planId' | 'phases' | 'terms' | 'draws'>
/** What a plan is charged for in a period, before its usage is read; `held` and the rest as in {@link Share}. */
type Portion = { plan: Plan<Price>; parts: Parts; held?: readonly Held[] } & Committed
/**
 * A period of a subscription, ready to be rated: plan by plan in the order they begin, add-ons behind the plan that they are
 * beside; none where all of it is free.
 * `plan` is that of its end, whose invoice it is.
 */
export type RatablePeriod = { period: Period; plan: Plan<Price>; portions: readonly Portion[] }

/** All plans that a subscription has had or will have. */
export function planIdsOf({ planId, phases }: Pick<ToRate, 'planId' | 'phases'>): string[] {
  return phases === null ? [planId] : [planId, ...planIdsIn(phases)]
}

/** Those of their own, and of their add-ons. */
export function planIdsIn(phases: readonly Phase[]): string[] {
  return phases.flatMap(({ planId, addOns = [] }) => [planId, ...addOns.map((addOn) => addOn.planId)])
}

/**
 * Cuts a period where phases of the subscription begin. Parts on the same version of a plan are rated together, and are
 * one where they meet; those that are not billed belong to nobody.
 * @throws Problem for a plan that cannot be rated.
 */
export function ratable(subscription: Agreed, period: Period, planOf: PlanOf): RatablePeriod {
  const plan = (id: string) => {
    const found = planOf(id)
    if (found instanceof Problem) throw found
    return found
  }
  // As of most: one plan for all of it.
  if (subscription.phases === null) {
    const own = plan(subscription.planId)
    return { period, plan: own, portions: [withWindows({ plan: own, parts: [period] }, subscription)] }
  }
  const segments = segmentsOf(subscription.planId, subscription.phases, period)
  const portions = portionsOf(segments).map(({ planId, parts, held }) =>
    withWindows({ plan: plan(planId), parts, held }, subscription),
  )
  return { period, plan: plan(segments.at(-1)?.planId ?? subscription.planId), portions }
}

/** With the commitments of several periods that its charges have, if they have some. */
function withWindows(portion: Portion, subscription: Agreed): Portion {
  const { plan, parts } = portion
  const committed = plan.charges.filter(({ price }) => isOfSeveralPeriods(price))
  if (committed.length === 0) return portion
  const basis = { unit: plan.prorationBasis, zone: subscription.terms.zone }
  // An instant inside, whatever a change of clocks made of the boundaries since.
  const [{ startMs, endMs }] = parts
  const windows = committed.map(({ key, price }): [string, CommitmentWindow] => [
    key,
    commitmentWindow(subscription, plan.id, price, (startMs + endMs) / 2, basis, plan.currency),
  ])
  return { ...portion, windows: new Map(windows), draws: subscription.draws ?? [] }
}

/** Of each plan what is billed: parts are one where they meet, whatever quantities changed between them. */
function portionsOf(segments: readonly Segment[]): { planId: string; parts: Parts; held: readonly Held[] }[] {
  const portions = new Map<string, { parts: [Period, ...Period[]]; held: Held[] }>()
  const add = (planId: string, held: Held) => {
    const { part } = held
    const portion = portions.get(planId)
    const before = portion?.parts.at(-1)
    if (portion === undefined) portions.set(planId, { parts: [part], held: [held] })
    else {
      if (before?.endMs === part.startMs) portion.parts[portion.parts.length - 1] = { ...before, endMs: part.endMs }
      else portion.parts.push(part)
      portion.held.push(held)
    }
  }
  for (const { planId, bills, part, quantities, addOns = [] } of segments) {
    if (!bills) continue
    add(planId, quantities === undefined ? { part } : { part, quantities })
    for (const addOn of addOns) add(addOn.planId, { part, addOnQuantity: addOn.quantity })
  }
  return [...portions].map(([planId, portion]) => ({ planId, ...portion }))
}

type Segment = Pick<Phase, 'planId' | 'bills' | 'quantities' | 'addOns'> & { part: Period }

/** They tile the period. */
export function segmentsOf(planId: string, phases: readonly Phase[], period: Period): Segment[] {
  const before = { startMs: Number.NEGATIVE_INFINITY, planId, bills: true }
  return [before, ...phases].flatMap((phase: Omit<Phase, 'kind'>, index): Segment[] => {
    const startMs = Math.max(period.startMs, phase.startMs)
    const endMs = Math.min(period.endMs, phases[index]?.startMs ?? period.endMs)
    const { planId: id, bills, quantities, addOns } = phase
    if (startMs >= endMs) return []
    return [{ planId: id, bills, quantities, addOns, part: { ...period, startMs, endMs } }]
  })
}

/**
 * What is to be read for a period, of usage before `untilMs`: one request for each plan and meter, though several charges
 * may price the meter, and one for each charge that needs single events. A level is averaged over the period, so that its
 * parts sum to the average of the whole. Nobody's usage is nothing, and needs no reading. `key` names the period among
 * others.
 */
export function usageRequests(
  key: string,
  subjects: string[],
  { period, portions }: RatablePeriod,
  untilMs = Number.POSITIVE_INFINITY,
): UsageRequest[] {
  if (subjects.length === 0) return []
  const averagedOverMs = Math.min(period.endMs, untilMs) - period.startMs
  const requests: UsageRequest[] = []
  for (const { plan, parts } of portions) {
    const times = timesUntil(parts, untilMs)
    if (times.length === 0) continue
    for (const { meter, chargeKey, detail } of metersOf(plan)) {
      const request = requestOf({ key: usageKey(key, meter, parts, chargeKey), meter, subjects }, times, averagedOverMs)
      requests.push(detail ? { detail, ...request } : request)
    }
  }
  return requests
}

function timesUntil(parts: Parts, untilMs: number): Span[] {
  const times: Span[] = []
  for (const { startMs, endMs } of parts) {
    if (startMs < untilMs) times.push({ startMs, endMs: Math.min(endMs, untilMs) })
  }
  return times
}

/** The shares of a period with what was answered; what was not asked for is nothing. */
export function sharesOf(
  key: string,
  { portions }: RatablePeriod,
  answers: ReadonlyMap<string, MeteredUsage>,
  zone: string,
): Share[] {
  return portions.map(({ plan, parts, ...held }) => ({
    plan,
    parts,
    zone,
    ...held,
    usageOf: (meter, chargeKey) => {
      const isDetailed = metersOf(plan).some((metered) => metered.chargeKey === chargeKey)
      const detailed = isDetailed ? answers.get(usageKey(key, meter, parts, chargeKey)) : undefined
      return detailed ?? answers.get(usageKey(key, meter, parts)) ?? NO_USAGE
    },
  }))
}

/** With what periods before drew of commitments, which no store has yet. */
export function withLaterDraws(shares: readonly Share[], drawn: readonly Draw[]): readonly Share[] {
  if (drawn.length === 0) return shares
  return shares.map((share) => (share.draws === undefined ? share : { ...share, draws: [...share.draws, ...drawn] }))
}

type Metered = { meter: string; chargeKey?: string; detail?: EventDetail }

/** Asked for every subscription, and a plan never changes. */
const metersOfPlans = new WeakMap<Plan<Price>, readonly Metered[]>()

function metersOf(plan: Plan<Price>): readonly Metered[] {
  const known = metersOfPlans.get(plan)
  if (known !== undefined) return known
  const meters = metersIn(plan)
  metersOfPlans.set(plan, meters)
  return meters
}

/** Each meter once for all charges that need its total alone, and once for each that needs more of its events. */
function metersIn({ charges }: Plan<Price>): Metered[] {
  const totals = new Set<string>()
  const detailed: Metered[] = []
  for (const charge of charges) {
    if (charge.meter === null) continue
    const detail = detailOf(charge)
    if (detail === undefined) totals.add(charge.meter)
    else detailed.push({ meter: charge.meter, chargeKey: charge.key, detail })
  }
  return [...[...totals].map((meter): Metered => ({ meter })), ...detailed]
}

/** Parts of a period do not overlap, so that the start of a plan's first names the plan. */
function usageKey(key: string, meter: string, [{ startMs }]: Parts, chargeKey?: string): string {
  return chargeKey === undefined ? `${key}/${meter}/${startMs}` : `${key}/${meter}/${startMs}/${chargeKey}`
}
