import type { TenantId } from '../../../schemas/http/door.ts'
import type { Period } from '../../../schemas/time/period.ts'
import { queueDeliveries } from '../../outbox/deliveries.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means, Transact } from '../../transaction.ts'
import type { ToRate } from '../due.ts'
import type { ClaimedBudget } from './budgets.postgres.ts'
import type { Level } from './levels.ts'
import { alertAnswer, SPEND_THRESHOLD_REACHED, type SpendAlert, webhookPayload } from './spend-alert.ts'
import { insertSpendAlerts } from './spend-alerts.postgres.ts'

export type Reached = {
  budget: ClaimedBudget
  subscription: ToRate
  period: Period
  level: Level
  spentMinor: bigint
}

/**
 * Tells of levels that nobody told of before, each once in a period whoever comes first; answers how many these are.
 * Alert, deliveries and history are one transaction.
 */
export async function fireSpendAlerts(
  { transact, now, newId }: Means & { transact: Transact },
  tenantId: TenantId,
  reached: readonly Reached[],
): Promise<number> {
  const firedAtMs = now()
  // In one order everywhere: processes that tell of the same levels wait for each other, and never in a circle. The sort
  // is stable: the levels of a budget come lowest first, and so do their ids.
  const sorted = reached.toSorted((a, b) => (orderOf(a) < orderOf(b) ? -1 : orderOf(a) > orderOf(b) ? 1 : 0))
  const ids = sorted.map(() => newId()).sort()
  const alerts = sorted.map((one, place) => alertOf(ids[place] ?? newId(), one, firedAtMs))
  return transact(tenantId, async (tx) => {
    const fired = await insertSpendAlerts(tx, alerts)
    if (fired.length === 0) return 0
    const told = fired.map((alert) => ({ id: alert.id, payload: webhookPayload(alert), atMs: firedAtMs }))
    await queueDeliveries(tx, SPEND_THRESHOLD_REACHED, told)
    const events = fired.map((alert) => {
      const { id, customerId, subscriptionId } = alert
      return { id, event: SPEND_THRESHOLD_REACHED, customerId, subscriptionId, data: alertAnswer(alert) } as const
    })
    await insertBillingEvents(tx, events, firedAtMs)
    return fired.length
  })
}

function orderOf({ subscription, period }: Reached): string {
  return `${subscription.id} ${new Date(period.startMs).toISOString()}`
}

function alertOf(
  id: string,
  { budget, subscription, period, level, spentMinor }: Reached,
  firedAtMs: number,
): SpendAlert {
  return {
    id,
    subscriptionId: subscription.id,
    subscriptionKey: budget.subscriptionKey,
    customerId: subscription.customerId,
    customerKey: subscription.customerKey,
    level: level.text,
    budgetMinor: budget.amountMinor,
    spentMinor,
    currency: budget.currency,
    periodStartMs: period.startMs,
    periodEndMs: period.endMs,
    firedAtMs,
  }
}
