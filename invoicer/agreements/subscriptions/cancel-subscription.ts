import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { floorToMinute } from '../../../schemas/time/period.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { termEnd } from '../contracts/term-end.ts'
import { goesOn, type SubscriptionState, stateAfter } from './lifecycle.ts'
import { phaseAt, trialEndOf } from './phases.ts'
import { refuseOverlap } from './refuse-overlap.ts'
import { hasProgress } from './revisions.postgres.ts'
import { periodEnd, wholeEndOf } from './running-period.ts'
import type { Subscription, Terms } from './subscription.ts'
import { type Changeable, lockSubscription, lockSubscriptionsOf, storeChange } from './subscriptions.postgres.ts'

/**
 * When it ends: with the period that runs, or its trial if that ends before, with the term that was agreed, or at once, at
 * the whole minute; `null` takes a cancellation back.
 */
export type Cancel = When | null
type When = 'period_end' | 'term_end' | 'now'
/**
 * What becomes of fees that were billed in advance, of the time behind an end that is now: given back with the last
 * invoice, or owed all the same. Fees in arrears cost what was served, whatever is said.
 */
export const CANCEL_FEES = ['credit', 'none'] as const
/** `fees` goes with an end that is now; by default they are given back. */
export type Cancellation = { cancel: Cancel; fees?: (typeof CANCEL_FEES)[number] }

const MINUTE_MS = 60_000

/**
 * Cancels, or takes that back. What was used up to the end is billed when the last period is due, and a fee for the part
 * of the period that was served. The same again changes nothing. A run that is rating the subscription meanwhile finds
 * that its end moved, and rates it again.
 * @throws Problem not_found; illegal_state for an ended subscription, where the end of a cancellation that is taken back
 * has come, and within the first minute of a period that has a progressive invoice; conflict if another subscription has
 * taken its place behind that.
 */
export async function cancelSubscription(
  tx: TenantTransaction,
  idOrKey: string,
  cancel: Cancel,
  means: Means,
  fees: (typeof CANCEL_FEES)[number] = 'credit',
): Promise<Subscription> {
  const found = await lockSubscription(tx, idOrKey)
  if (found === undefined) throw new Problem('not_found', 'There is no subscription with this id or external key.')
  const nowMs = means.now()
  const { subscription } = found
  const changed = cancel === null ? takenBack(found, nowMs) : cancelled(found, cancel, fees, nowMs)
  if (isSame(subscription, changed)) return subscription
  await refuseProgressLeft(tx, subscription, changed)
  await storeChange(tx, changed, found.feesBilled)
  if (cancel === null) await refuseTaken(tx, changed)
  await tell(tx, subscription, changed, means, nowMs)
  return changed
}

function cancelled(found: Changeable, cancel: When, fees: (typeof CANCEL_FEES)[number], nowMs: number): Subscription {
  const { subscription, contract } = found
  const state = stateAfter(subscription.state, 'cancel')
  // The same again changes nothing, also later.
  if (hasCome(subscription, nowMs)) return subscription
  const wantedMs = endOf(subscription, contract, cancel, nowMs)
  // Never later than it ends already: that would have to be taken back.
  const endMs = Math.min(wantedMs, subscription.endMs ?? wantedMs)
  // In a trial, or a pause without fees, there are none to be kept.
  const isKept = cancel === 'now' && fees === 'none' && phaseAt(subscription.phases, nowMs).bills
  const feesUntilMs = isKept && endMs > contract.startMs ? periodEnd(subscription, contract, nowMs) : null
  return endingAt({ ...found, subscription: { ...subscription, feesUntilMs } }, endMs, state)
}

function takenBack(found: Changeable, nowMs: number): Subscription {
  const { subscription, contract } = found
  if (goesOn(subscription.state)) return subscription
  const state = stateAfter(hasCome(subscription, nowMs) ? 'ended' : subscription.state, 'take_back')
  return endingAt({ ...found, subscription: { ...subscription, feesUntilMs: null } }, contract.endMs, state)
}

function hasCome({ endMs }: Subscription, nowMs: number): boolean {
  return endMs !== null && endMs <= nowMs
}

/** Where no minute of the period is left, no invoice of it comes that settles what one inside of it billed. */
async function refuseProgressLeft(tx: TenantTransaction, { id, nextPeriod }: Subscription, after: Subscription) {
  if (nextPeriod === null || after.nextPeriod !== null) return
  if (!(await hasProgress(tx, id, nextPeriod.startMs))) return
  throw new Problem(
    'illegal_state',
    'Its period has begun within this minute, and has an invoice: cancel it a minute later, or void that first.',
  )
}

/** Another subscription may have been created behind the end that is taken back. */
async function refuseTaken(tx: TenantTransaction, subscription: Subscription): Promise<void> {
  await lockSubscriptionsOf(tx, subscription.customerId)
  await refuseOverlap(tx, subscription)
}

/** One that has not begun never begins. */
function endOf(subscription: Subscription, contract: Terms, cancel: When, nowMs: number): number {
  if (cancel === 'term_end') return endOfTerm(subscription, contract, nowMs)
  if (nowMs < contract.startMs) return contract.startMs
  if (cancel === 'now') return floorToMinute(nowMs)
  const { phases } = subscription
  const trialEndMs = phaseAt(phases, nowMs).kind === 'trial' ? trialEndOf(phases) : null
  return Math.min(periodEnd(subscription, contract, nowMs), trialEndMs ?? Number.POSITIVE_INFINITY)
}

/** Also of one that is cancelled before it begins: it was signed for. */
function endOfTerm({ agreed }: Subscription, { startMs, zone }: Terms, nowMs: number): number {
  if (agreed?.term !== undefined) return termEnd(startMs, agreed.term, zone, nowMs)
  throw new Problem('illegal_state', 'No term was agreed on: cancel it at the period_end, or now.')
}

/** Its next period is cut by the end, or whole again; with nothing left to bill it has ended. */
function endingAt(found: Changeable, wantedMs: number | null, state: SubscriptionState): Subscription {
  const { subscription, contract } = found
  const { nextPeriod } = subscription
  const endMs = behindBilledFees(found, wantedMs)
  if (nextPeriod === null || (endMs !== null && endMs <= nextPeriod.startMs)) {
    // What is invoiced already stays in it, though the clock of whoever invoiced it was ahead.
    return { ...subscription, endMs: nextPeriod?.startMs ?? endMs, nextPeriod: null, state: stateAfter(state, 'end') }
  }
  const wholeEndMs = wholeEndOf(subscription, nextPeriod, contract)
  const next = { startMs: nextPeriod.startMs, endMs: Math.min(wholeEndMs, endMs ?? wholeEndMs) }
  return { ...subscription, endMs, nextPeriod: next, state }
}

/**
 * Fees of its next period that are billed are given back by the invoice of that period: it is a minute long at least, so
 * that there is one.
 */
function behindBilledFees({ subscription, feesBilled }: Changeable, endMs: number | null): number | null {
  const { nextPeriod, feesUntilMs } = subscription
  if (endMs === null || nextPeriod === null || !feesBilled || feesUntilMs !== null) return endMs
  return Math.max(endMs, nextPeriod.startMs + MINUTE_MS)
}

function isSame(one: Subscription, other: Subscription): boolean {
  return (
    one.state === other.state &&
    one.endMs === other.endMs &&
    one.feesUntilMs === other.feesUntilMs &&
    one.nextPeriod?.startMs === other.nextPeriod?.startMs &&
    one.nextPeriod?.endMs === other.nextPeriod?.endMs
  )
}

async function tell(
  tx: TenantTransaction,
  before: Subscription,
  after: Subscription,
  means: Means,
  nowMs: number,
): Promise<void> {
  const { id: subscriptionId, customerId, state } = after
  const textOf = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString())
  const end = textOf(after.endMs)
  const changes = [
    {
      change: goesOn(state) ? 'cancellation_taken_back' : 'cancelled',
      state,
      end,
      end_before: textOf(before.endMs),
      ...(after.feesUntilMs === null ? {} : { fees_until: textOf(after.feesUntilMs) }),
    },
    // As a run says it where a last period is to be billed.
    ...(state === 'ended' ? [{ change: 'ended', state, end }] : []),
  ]
  const events = changes.map((data) => {
    return { id: means.newId(), event: 'subscription.updated' as const, customerId, subscriptionId, data }
  })
  await insertBillingEvents(tx, events, nowMs)
}
