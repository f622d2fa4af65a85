import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { BillingRun } from './billing-run.ts'
import { ensureInvoiceNumbers, insertRun } from './runs.postgres.ts'

/**
 * Opens a billing run; nothing is billed yet. W is taken here, once: everything whose first copy was known up to and
 * with this millisecond. Opening twice makes two runs, of which the second finds nothing due.
 * @throws Problem invalid_request for an `asOfMs` in the future: usage of periods that go on would be missing for ever.
 */
export async function openRun(
  tx: TenantTransaction,
  input: { asOfMs: number | null },
  means: Means,
): Promise<BillingRun> {
  const nowMs = means.now()
  const asOfMs = input.asOfMs ?? nowMs
  if (asOfMs > nowMs) {
    throw new Problem('invalid_request', 'A run cannot bill what is not over yet.', {
      errors: [{ path: 'as_of', message: 'This must not lie in the future.' }],
    })
  }
  const run: BillingRun = {
    id: means.newId(),
    state: 'running',
    step: 'open',
    asOfMs,
    knownBeforeMs: nowMs + 1,
    sealId: means.newId(),
    subscriptionsDue: null,
    error: null,
  }
  await ensureInvoiceNumbers(tx)
  await insertRun(tx, run, nowMs)
  const data = { as_of: new Date(asOfMs).toISOString(), known_before: new Date(run.knownBeforeMs).toISOString() }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'billing_run.opened', billingRunId: run.id, data }], nowMs)
  return run
}
