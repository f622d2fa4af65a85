import type { TenantId } from '../../../schemas/http/door.ts'
import { queueDeliveries } from '../../outbox/deliveries.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means, Transact } from '../../transaction.ts'
import { CREDIT_THRESHOLD_REACHED, type CreditAlert, creditAlertAnswer, creditPayload } from './credit-alert.ts'
import { insertCreditAlerts } from './credit-alerts.postgres.ts'

export type ReachedCredit = Omit<CreditAlert, 'id' | 'firedAtMs'>

/**
 * Tells of levels that nobody told of before, each once in a fill whoever comes first; answers how many these are.
 * Alert, deliveries and history are one transaction.
 */
export async function fireCreditAlerts(
  { transact, now, newId }: Means & { transact: Transact },
  tenantId: TenantId,
  reached: readonly ReachedCredit[],
): Promise<number> {
  const firedAtMs = now()
  // In one order everywhere: processes that tell of the same levels wait for each other, and never in a circle. The sort
  // is stable: the levels of a customer come in their order, and so do their ids.
  const sorted = reached.toSorted((a, b) => (a.customerId < b.customerId ? -1 : a.customerId > b.customerId ? 1 : 0))
  const ids = sorted.map(() => newId()).sort()
  const alerts = sorted.map((one, place): CreditAlert => ({ ...one, id: ids[place] ?? newId(), firedAtMs }))
  return transact(tenantId, async (tx) => {
    const fired = await insertCreditAlerts(tx, alerts)
    if (fired.length === 0) return 0
    const told = fired.map((alert) => ({ id: alert.id, payload: creditPayload(alert), atMs: firedAtMs }))
    await queueDeliveries(tx, CREDIT_THRESHOLD_REACHED, told)
    const events = fired.map((alert) => {
      const { id, customerId, grantId } = alert
      const data = { grant_id: grantId, ...creditAlertAnswer(alert) }
      return { id, event: CREDIT_THRESHOLD_REACHED, customerId, data } as const
    })
    await insertBillingEvents(tx, events, firedAtMs)
    return fired.length
  })
}
