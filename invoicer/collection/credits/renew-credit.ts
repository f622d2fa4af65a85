import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { isDataError } from '../../billing/run/issue-chunk.ts'
import { insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { CreditGrant } from './credit.ts'
import { insertGrants, insertUses, takeOff } from './credits.postgres.ts'
import { planRenewal, type Renewal, type Rolled } from './plan-renewal.ts'
import { listRenewals, lockLeft } from './renewals.postgres.ts'
import { lockDueSchedules, moveSchedules } from './schedules.postgres.ts'
import { watchCreditOf } from './thresholds.postgres.ts'
import { DEFAULT_CREDIT_THRESHOLDS } from './thresholds.ts'

/**
 * Gives customers what schedules bring until an instant, and lets their expired credit roll over. All that was missed comes
 * at once, in order and with its own times. Schedules are locked before grants, and both in one order everywhere: who
 * comes second finds nothing to be done. Where something is due for one, the grants of all `customerIds` are locked: whoever
 * draws goes on to lock these, and would else come to them out of order.
 */
export async function renewCredit(
  tx: TenantTransaction,
  means: Means,
  customerIds: readonly string[],
  atMs: number,
): Promise<void> {
  let waiting = await listRenewals(tx, customerIds, atMs, customerIds.length)
  while (waiting.length > 0) {
    const schedules = await lockDueSchedules(tx, waiting, atMs)
    const left = await lockLeft(tx, customerIds)
    await storeRenewal(tx, means, planRenewal(schedules, left, atMs, means.newId), atMs)
    // What was away for long gives grants that have expired by now, and these may roll over in their turn.
    waiting = await listRenewals(tx, waiting, atMs, waiting.length)
  }
}

/**
 * The same, for a door that has something else to do: what the database refuses because of its content is left as it was,
 * and the loop that renews tells of it each minute.
 */
export async function renewIfItCan(
  tx: TenantTransaction,
  means: Means,
  customerIds: readonly string[],
  atMs: number,
): Promise<void> {
  await tx.query('SAVEPOINT before_renewal')
  try {
    await renewCredit(tx, means, customerIds, atMs)
    await tx.query('RELEASE SAVEPOINT before_renewal')
  } catch (error) {
    if (!isDataError(error)) throw error
    await tx.query('ROLLBACK TO SAVEPOINT before_renewal')
  }
}

async function storeRenewal(tx: TenantTransaction, means: Means, renewal: Renewal, atMs: number): Promise<void> {
  const { grants, rolled, schedules } = renewal
  if (schedules.length > 0) await moveSchedules(tx, schedules)
  if (grants.length > 0) {
    await insertGrants(tx, grants)
    const customers = grants.map(({ customerId }) => customerId)
    await watchCreditOf(tx, customers, DEFAULT_CREDIT_THRESHOLDS, atMs)
  }
  if (rolled.length > 0) {
    const parts = rolled.map(({ from }) => ({ grantId: from.id, amountMinor: from.remainingMinor }))
    await takeOff(tx, parts)
    const uses = rolled.flatMap((one) => usesOf(one).map((use) => ({ ...use, id: means.newId() })))
    await insertUses(tx, uses, atMs)
  }
  const given = grants.filter(({ rolledFrom }) => rolledFrom === null)
  const events = [
    ...rolled.flatMap((one) => rolledEvents(means, one)),
    ...given.map((grant) => grantedEvent(means, grant)),
  ]
  await insertBillingEvents(tx, events, atMs)
}

function usesOf({ from: { id: grantId }, to, lostMinor }: Rolled) {
  const use = { grantId, invoiceId: null }
  return [
    ...(to === null ? [] : [{ ...use, kind: 'rolled' as const, amountMinor: to.amountMinor, toGrantId: to.id }]),
    ...(lostMinor === 0n ? [] : [{ ...use, kind: 'expired' as const, amountMinor: lostMinor, toGrantId: null }]),
  ]
}

function rolledEvents(means: Means, { from, to, lostMinor }: Rolled): NewBillingEvent[] {
  const { id: grantId, customerId, currency } = from
  const told = (event: 'credit.rolled_over' | 'credit.expired', amountMinor: bigint, more: object) => {
    const data = { grant_id: grantId, amount: formatMoney(amountMinor, currency), currency, ...more }
    return { id: means.newId(), event, customerId, data }
  }
  return [
    ...(to === null ? [] : [told('credit.rolled_over', to.amountMinor, { to_grant_id: to.id })]),
    ...(lostMinor === 0n ? [] : [told('credit.expired', lostMinor, {})]),
  ]
}

function grantedEvent(
  means: Means,
  { id, customerId, amountMinor, currency, scheduleId }: CreditGrant,
): NewBillingEvent {
  const data = { grant_id: id, amount: formatMoney(amountMinor, currency), currency, schedule_id: scheduleId }
  return { id: means.newId(), event: 'credit.granted', customerId, data }
}
