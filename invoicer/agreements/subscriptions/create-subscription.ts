import { isDeepStrictEqual } from 'node:util'
import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { floorToMinute, periodBoundary } from '../../../schemas/time/period.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { canonicalTerms } from '../contracts/canonical-terms.ts'
import type { Negotiating } from '../contracts/private-plan.ts'
import { type PlannedPhase, plannedPhases } from '../contracts/ramp.ts'
import { endOfDurations } from '../contracts/term-end.ts'
import type { AgreedTerms } from '../contracts/terms.ts'
import type { Customer } from '../customers/customer.ts'
import { findCustomer } from '../customers/customers.postgres.ts'
import { refuseArchived } from '../plans/listing.ts'
import type { Plan } from '../plans/plan.ts'
import { effectivePlan, findPlans } from '../plans/plans.postgres.ts'
import { refuseAddOns, withAddOns } from './add-ons.ts'
import { namedAddOns, type WantedAddOn } from './change-add-ons.ts'
import { planOfPhase } from './change-plan.ts'
import { refuseQuantities, refuseStrange } from './change-quantities.ts'
import { firstPeriodFrom } from './periods.ts'
import { changedFrom, trialEndOf } from './phases.ts'
import { type Quantities, withQuantities } from './quantities.ts'
import { refuseOverlap } from './refuse-overlap.ts'
import type { NamedPhase, Subscription } from './subscription.ts'
import { findSubscriptionByKey, insertSubscription, lockSubscriptionsOf } from './subscriptions.postgres.ts'

export type CreateSubscription = {
  /** That of its draft; left out: a new one. */
  id?: string | undefined
  externalKey: string
  /** Id or external key. */
  customer: string
  planKey: string
  startMs: number
  endMs: number | null
  /** Served and not billed at first: for so many days of the customer's zone, or until a time. */
  trial?: { days: number } | { endMs: number } | undefined
  /** How much of the charges that are priced so; those that are left out have their default. */
  quantities?: Quantities
  addOns?: readonly WantedAddOn[]
  /** What was negotiated: other prices, a ramp, a term. */
  agreed?: AgreedTerms | undefined
}

/** A start outside these years is a slip of the pen, and would make thousands of invoices. */
const EARLIEST_MS = Date.UTC(2000, 0, 1)
const LATEST_MS = Date.UTC(2100, 0, 1)

/**
 * Subscribes a customer to a plan once per external key: the same content again answers the stored subscription. It is
 * active from its start, which may lie in the past: its first run then bills every period that is due.
 * @throws Problem invalid_request for a customer, plan or times that cannot be billed; conflict for other content under
 * the same key, or for a meter that another subscription of the customer prices at the same time.
 */
export async function createSubscription(
  tx: TenantTransaction,
  input: CreateSubscription,
  means: Negotiating,
): Promise<{ subscription: Subscription; created: boolean }> {
  const customer = await findCustomer(tx, input.customer)
  const startMs = floorToMinute(input.startMs)
  const plan = await effectivePlan(tx, input.planKey, startMs)
  const agreed = input.agreed && canonicalTerms(input.agreed, means)
  const endMs = endOf(input, startMs, customer)
  const trialEndMs = input.trial && customer && trialEnd(input.trial, startMs, customer.timezone)
  const errors = [...checkParties(customer, plan), ...checkTimes(startMs, endMs, trialEndMs), ...checkTerm(input)]
  if (errors.length > 0 || customer === undefined || plan === undefined) {
    throw new Problem('invalid_request', 'The subscription is not valid.', { errors })
  }
  await lockSubscriptionsOf(tx, customer.id)
  const again = await findSubscriptionByKey(tx, input.externalKey)
  /** Asked again, nothing is agreed on anew: a version may have been published since. */
  const planning = async (): Promise<[PlannedPhase, ...PlannedPhase[]]> => {
    if (again !== undefined) return plannedBefore(tx, again)
    if (agreed === undefined) return [{ startMs, plan }]
    return plannedPhases(tx, { customer, planKey: plan.key, startMs, endMs }, agreed, means)
  }
  const planned = await planning()
  const [{ plan: firstPlan }] = planned
  const { interval, every, alignment } = firstPlan
  const terms = { startMs, endMs, interval, every, alignment, zone: customer.timezone }
  const first = firstPeriodFrom(terms, startMs)
  const subscription: Subscription = {
    id: input.id ?? means.newId(),
    externalKey: input.externalKey,
    customerId: customer.id,
    planKey: agreed?.phases?.[0]?.plan ?? plan.key,
    phases: await withHeld(tx, phasesFrom(planned, trialEndMs), input, again),
    state: 'active',
    startMs,
    endMs,
    contractEndMs: endMs,
    feesUntilMs: null,
    nextPeriod: first === undefined ? null : { startMs: first.startMs, endMs: first.endMs },
    createdAtMs: means.now(),
    ...(agreed === undefined ? {} : { agreed }),
  }
  if (again !== undefined || !(await insertSubscription(tx, subscription, firstPlan.id))) {
    return { subscription: await storedSubscription(tx, subscription), created: false }
  }
  const keys = [...planned.map((one) => one.plan.key), ...(input.addOns ?? []).map((addOn) => addOn.plan)]
  for (const key of new Set(keys)) await refuseArchived(tx, key)
  await refuseOverlap(tx, subscription)
  await tellCreated(tx, subscription, firstPlan, means)
  return { subscription, created: true }
}

async function plannedBefore(
  tx: TenantTransaction,
  { phases }: Subscription,
): Promise<[PlannedPhase, ...PlannedPhase[]]> {
  const plans = await findPlans(tx, [...new Set(phases.map(({ planId }) => planId))])
  const [first, ...later] = phases.flatMap(({ startMs, planId }) => {
    const plan = plans.find(({ id }) => id === planId)
    return plan === undefined ? [] : [{ startMs, plan }]
  })
  if (first === undefined) throw new Problem('internal', 'The plans of a subscription could not be read.')
  return [first, ...later]
}

function checkParties(customer: Customer | undefined, plan: Plan | undefined): ProblemError[] {
  const errors: ProblemError[] = []
  if (customer === undefined) errors.push({ path: 'customer', message: 'There is no such customer.' })
  if (plan === undefined) errors.push({ path: 'plan', message: 'There is no such plan.' })
  if (plan?.kind === 'add_on') errors.push({ path: 'plan', message: 'This is an add-on: send it among add_ons.' })
  if (customer !== undefined && plan !== undefined && customer.currency !== plan.currency) {
    const message = `The plan is in ${plan.currency}, the customer pays in ${customer.currency}.`
    errors.push({ path: 'plan', message })
  }
  return errors
}

function checkTimes(startMs: number, endMs: number | null, trialEndMs: number | undefined): ProblemError[] {
  const errors: ProblemError[] = []
  const outside = (ms: number) => !(ms >= EARLIEST_MS && ms <= LATEST_MS)
  if (outside(startMs)) errors.push({ path: 'start', message: 'This must lie in the years 2000 to 2099.' })
  if (endMs !== null && outside(endMs))
    errors.push({ path: 'end', message: 'This must lie in the years 2000 to 2099.' })
  if (endMs !== null && endMs <= startMs) {
    errors.push({ path: 'end', message: 'This must be after the start by a minute or more.' })
  }
  if (trialEndMs !== undefined && (outside(trialEndMs) || trialEndMs <= startMs)) {
    errors.push({ path: 'trial_end', message: 'This must be after the start by a minute or more, and before 2100.' })
  } else if (trialEndMs !== undefined && endMs !== null && trialEndMs > endMs) {
    errors.push({ path: 'trial_end', message: 'This must not be after the end.' })
  }
  return errors
}

/** The contract's end: as it is said, or with a term that does not renew. */
function endOf({ endMs, agreed }: CreateSubscription, startMs: number, customer: Customer | undefined): number | null {
  if (endMs !== null) return floorToMinute(endMs)
  const term = agreed?.term
  return term?.renewal === 'end' && customer ? endOfDurations(startMs, [term], customer.timezone) : null
}

function checkTerm({ endMs, agreed }: CreateSubscription): ProblemError[] {
  if (endMs === null || agreed?.term === undefined) return []
  return [{ path: 'end', message: 'A term says where it ends: leave one of them out.' }]
}

function trialEnd(trial: { days: number } | { endMs: number }, startMs: number, zone: string): number {
  if ('endMs' in trial) return floorToMinute(trial.endMs)
  return periodBoundary(startMs, { interval: 'day', every: trial.days }, zone, 1)
}

function phasesFrom(
  planned: readonly [PlannedPhase, ...PlannedPhase[]],
  trialEndMs: number | undefined,
): Subscription['phases'] {
  const [first, ...later] = planned
  const active = ({ startMs, plan }: PlannedPhase): NamedPhase => {
    return { startMs, ...planOfPhase(plan), kind: 'active', bills: true }
  }
  const phases = changedFrom([active(first), ...later.map(active)], first.startMs, (phase) => phase)
  if (trialEndMs === undefined) return phases
  const tried = changedFrom(phases, first.startMs, (phase) => ({ ...phase, kind: 'trial', bills: false }))
  return changedFrom(tried, trialEndMs, (phase) => ({ ...phase, kind: 'active', bills: true }))
}

/**
 * With quantities, in each phase as far as its plan asks for them, and add-ons. Asked again, the phases are those of by now:
 * what changes since have led to need not take what was sent at first, and the first phase alone is compared.
 * @throws Problem as a change of them.
 */
async function withHeld(
  tx: TenantTransaction,
  phases: Subscription['phases'],
  { quantities = {}, addOns = [] }: CreateSubscription,
  again: Subscription | undefined,
): Promise<Subscription['phases']> {
  const [{ startMs }] = phases
  const strange = Object.keys(quantities).filter(
    (key) => !phases.some(({ licences = {} }) => Object.hasOwn(licences, key)),
  )
  if (again === undefined) refuseStrange(phases[0], Object.fromEntries(strange.map((key) => [key, ''])))
  const named = await namedAddOns(tx, addOns, again?.phases[0].addOns ?? [], startMs)
  const held = changedFrom(phases, startMs, (phase) => withAddOns(withQuantities(phase, quantities), named))
  if (again !== undefined) return held
  refuseQuantities(held)
  await refuseAddOns(tx, held)
  return held
}

function heldOf({ phases: [{ quantities, addOns }] }: Subscription) {
  return { quantities, addOns: addOns?.map(({ planKey, quantity }) => [planKey, quantity]) }
}

async function storedSubscription(tx: TenantTransaction, wanted: Subscription): Promise<Subscription> {
  const stored = await findSubscriptionByKey(tx, wanted.externalKey)
  if (stored === undefined) throw new Problem('internal', 'A stored subscription could not be read.')
  const same =
    stored.customerId === wanted.customerId &&
    stored.planKey === wanted.planKey &&
    stored.startMs === wanted.startMs &&
    stored.contractEndMs === wanted.contractEndMs &&
    trialEndOf(stored.phases) === trialEndOf(wanted.phases) &&
    isDeepStrictEqual(stored.agreed, wanted.agreed) &&
    isDeepStrictEqual(heldOf(stored), heldOf(wanted))
  if (same) return stored
  throw new Problem(
    'conflict',
    `Subscription ${JSON.stringify(wanted.externalKey)} exists with other content. To change it, send a PATCH.`,
  )
}

async function tellCreated(tx: TenantTransaction, subscription: Subscription, plan: Plan, means: Means): Promise<void> {
  const { id, customerId, createdAtMs } = subscription
  const data = {
    external_key: subscription.externalKey,
    plan: plan.key,
    plan_id: plan.id,
    start: new Date(subscription.startMs).toISOString(),
    end: textOrNull(subscription.endMs),
    trial_end: textOrNull(trialEndOf(subscription.phases)),
    ...(subscription.agreed === undefined ? {} : negotiatedTold(subscription, subscription.agreed)),
  }
  await insertBillingEvents(
    tx,
    [{ id: means.newId(), event: 'subscription.created', customerId, subscriptionId: id, data }],
    createdAtMs,
  )
}

/** Prices are not told: its terms have them. */
function negotiatedTold({ phases }: Subscription, { term }: AgreedTerms): object {
  const told = term && {
    ...{ interval: term.interval, count: term.count, renewal: term.renewal, renew_on: term.renewOn },
    notice_days: term.noticeDays,
  }
  return { negotiated: phases.some(({ negotiated }) => negotiated), ...(told ? { term: told } : {}) }
}

function textOrNull(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString()
}
