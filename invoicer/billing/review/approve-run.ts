import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import { idOrNull, type Means } from '../../transaction.ts'
import { lockRun, releaseRun } from './places.postgres.ts'

/**
 * Lets a run that waits for it bill, with the W it was drafted with. `by` is kept with the run and in the history. Again
 * changes nothing. Amounts are rated anew as they are issued: usage is the same, and what else was changed since counts.
 * @throws Problem not_found; illegal_state for a run that does not wait for it, and was never approved.
 */
export async function approveRun(tx: TenantTransaction, id: string, by: string, means: Means): Promise<void> {
  const { state, approvedBy } = await lockRun(tx, idOrNull(id))
  if (approvedBy !== null && state !== 'cancelled') return
  if (state !== 'awaiting_approval') {
    throw new Problem('illegal_state', `The run is ${state}: only one that awaits approval can be approved.`)
  }
  const atMs = means.now()
  await releaseRun(tx, id, by, atMs)
  const event = { id: means.newId(), event: 'billing_run.approved' as const, billingRunId: id, data: { by } }
  await insertBillingEvents(tx, [event], atMs)
}
