import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import { idOrNull, type Means } from '../../transaction.ts'
import { askToCollect, lockRun } from './places.postgres.ts'

/**
 * Has what a cancelled run issued charged all the same, now that somebody has looked at it. `by` is kept in the history.
 * Again changes nothing.
 * @throws Problem not_found; illegal_state for a run that is not cancelled: it charges by itself.
 */
export async function collectCancelled(tx: TenantTransaction, id: string, by: string, means: Means): Promise<void> {
  const { state, isToCollect } = await lockRun(tx, idOrNull(id))
  if (state !== 'cancelled') {
    throw new Problem('illegal_state', `The run is ${state}: what it issues is charged by itself, once it bills.`)
  }
  if (isToCollect) return
  const atMs = means.now()
  await askToCollect(tx, id, atMs)
  const event = { id: means.newId(), event: 'billing_run.collected' as const, billingRunId: id, data: { by } }
  await insertBillingEvents(tx, [event], atMs)
}
