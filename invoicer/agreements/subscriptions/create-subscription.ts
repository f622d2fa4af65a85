import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { floorToMinute, periodBoundary } from '../../../schemas/time/period.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { Customer } from '../customers/customer.ts'
import { findCustomer } from '../customers/customers.postgres.ts'
import type { Plan } from '../plans/plan.ts'
import { effectivePlan } from '../plans/plans.postgres.ts'
import { planOfPhase } from './change-plan.ts'
import { firstPeriodFrom } from './periods.ts'
import { trialEndOf } from './phases.ts'
import { refuseOverlap } from './refuse-overlap.ts'
import type { NamedPhase, Subscription } from './subscription.ts'
import { findSubscriptionByKey, insertSubscription, lockSubscriptionsOf } from './subscriptions.postgres.ts'

export type CreateSubscription = {
  externalKey: string
  /** Id or external key. */
  customer: string
  planKey: string
  startMs: number
  endMs: number | null
  /** Served and not billed at first: for so many days of the customer's zone, or until a time. */
  trial?: { days: number } | { endMs: number } | undefined
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
  means: Means,
): Promise<{ subscription: Subscription; created: boolean }> {
  const customer = await findCustomer(tx, input.customer)
  const startMs = floorToMinute(input.startMs)
  const plan = await effectivePlan(tx, input.planKey, startMs)
  const endMs = input.endMs === null ? null : floorToMinute(input.endMs)
  const trialEndMs = input.trial && customer && trialEnd(input.trial, startMs, customer.timezone)
  const errors = [...checkParties(customer, plan), ...checkTimes(startMs, endMs, trialEndMs)]
  if (errors.length > 0 || customer === undefined || plan === undefined) {
    throw new Problem('invalid_request', 'The subscription is not valid.', { errors })
  }
  const { interval, every, alignment } = plan
  const terms = { startMs, endMs, interval, every, alignment, zone: customer.timezone }
  const first = firstPeriodFrom(terms, startMs)
  const subscription: Subscription = {
    id: means.newId(),
    externalKey: input.externalKey,
    customerId: customer.id,
    planKey: plan.key,
    phases: phasesFrom(startMs, plan, trialEndMs),
    state: 'active',
    startMs,
    endMs,
    contractEndMs: endMs,
    feesUntilMs: null,
    nextPeriod: first === undefined ? null : { startMs: first.startMs, endMs: first.endMs },
    createdAtMs: means.now(),
  }
  await lockSubscriptionsOf(tx, customer.id)
  if (!(await insertSubscription(tx, subscription, plan.id))) {
    return { subscription: await storedSubscription(tx, subscription), created: false }
  }
  await refuseOverlap(tx, subscription)
  await tellCreated(tx, subscription, plan, means)
  return { subscription, created: true }
}

function checkParties(customer: Customer | undefined, plan: Plan | undefined): ProblemError[] {
  const errors: ProblemError[] = []
  if (customer === undefined) errors.push({ path: 'customer', message: 'There is no such customer.' })
  if (plan === undefined) errors.push({ path: 'plan', message: 'There is no such plan.' })
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

function trialEnd(trial: { days: number } | { endMs: number }, startMs: number, zone: string): number {
  if ('endMs' in trial) return floorToMinute(trial.endMs)
  return periodBoundary(startMs, { interval: 'day', every: trial.days }, zone, 1)
}

function phasesFrom(startMs: number, plan: Plan, trialEndMs: number | undefined): Subscription['phases'] {
  const active: NamedPhase = { startMs, ...planOfPhase(plan), kind: 'active', bills: true }
  if (trialEndMs === undefined) return [active]
  return [
    { ...active, kind: 'trial', bills: false },
    { ...active, startMs: trialEndMs },
  ]
}

async function storedSubscription(tx: TenantTransaction, wanted: Subscription): Promise<Subscription> {
  const stored = await findSubscriptionByKey(tx, wanted.externalKey)
  if (stored === undefined) throw new Problem('internal', 'A stored subscription could not be read.')
  const same =
    stored.customerId === wanted.customerId &&
    stored.planKey === wanted.planKey &&
    stored.startMs === wanted.startMs &&
    stored.contractEndMs === wanted.contractEndMs &&
    trialEndOf(stored.phases) === trialEndOf(wanted.phases)
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
  }
  await insertBillingEvents(
    tx,
    [{ id: means.newId(), event: 'subscription.created', customerId, subscriptionId: id, data }],
    createdAtMs,
  )
}

function textOrNull(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString()
}
