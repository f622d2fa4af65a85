import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import { idOrNull, type Means } from '../../transaction.ts'
import { endCancelled, lockRun } from './places.postgres.ts'

/**
 * Ends a run for good. It waits until the chunk that is being issued is committed; behind it nothing is issued any more,
 * since every chunk holds the run while it lasts. What is issued stays, everything else is due for the next run. `by` is
 * kept with the run and in the history. Again changes nothing.
 * @throws Problem not_found; illegal_state for a run that is completed.
 */
export async function cancelRun(tx: TenantTransaction, id: string, by: string, means: Means): Promise<void> {
  const { state } = await lockRun(tx, idOrNull(id))
  if (state === 'cancelled') return
  if (state === 'completed') {
    throw new Problem('illegal_state', 'The run is completed: take back what it issued with credit notes.')
  }
  const atMs = means.now()
  await endCancelled(tx, id, by, atMs)
  const event = { id: means.newId(), event: 'billing_run.cancelled' as const, billingRunId: id, data: { by, state } }
  await insertBillingEvents(tx, [event], atMs)
}
