import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { ensureInvoiceNumbers } from '../invoices/numbers.postgres.ts'
import type { BillingRun } from './billing-run.ts'
import { insertRun } from './runs.postgres.ts'

/** `asOfMs` null: now. A dry run bills nothing. */
export type OpenRun = { asOfMs: number | null; dryRun?: boolean }

/**
 * Opens a billing run; nothing is billed yet. W is taken here, once: everything whose first copy was known up to and
 * with this millisecond. Opening twice makes two runs, of which the second finds nothing due.
 * @throws Problem invalid_request for an `asOfMs` in the future: usage of periods that go on would be missing for ever.
 */
export async function openRun(tx: TenantTransaction, input: OpenRun, means: Means): Promise<BillingRun> {
  const nowMs = means.now()
  const asOfMs = input.asOfMs ?? nowMs
  if (asOfMs > nowMs) {
    throw new Problem('invalid_request', 'A run cannot bill what is not over yet.', {
      errors: [{ path: 'as_of', message: 'This must not lie in the future.' }],
    })
  }
  return storeRun(tx, { asOfMs, knownBeforeMs: nowMs + 1, dryRun: input.dryRun ?? false }, means)
}

type RunToStore = Pick<BillingRun, 'asOfMs' | 'knownBeforeMs' | 'dryRun'> & Partial<BillingRun>

/** A run that is about to go on, and its line in the history. */
export async function storeRun(tx: TenantTransaction, content: RunToStore, means: Means): Promise<BillingRun> {
  const nowMs = means.now()
  const run: BillingRun = {
    id: means.newId(),
    state: 'running',
    step: 'open',
    sealId: means.newId(),
    subscriptionsDue: null,
    error: null,
    retriesRun: null,
    releasedAtMs: null,
    ...content,
  }
  if (!run.dryRun) await ensureInvoiceNumbers(tx)
  await insertRun(tx, run, nowMs)
  const data = {
    as_of: new Date(run.asOfMs).toISOString(),
    known_before: new Date(run.knownBeforeMs).toISOString(),
    ...(run.dryRun ? { dry_run: true } : {}),
    ...(run.retriesRun === null ? {} : { retries: run.retriesRun }),
  }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'billing_run.opened', billingRunId: run.id, data }], nowMs)
  return run
}
