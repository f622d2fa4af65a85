import type { TenantId } from '../../../schemas/http/door.ts'
import type { Chore } from '../credits/keep-doing.ts'
import { type CollectDeps, collectInvoice } from './collect-payments.ts'
import { listUnpaidBeside } from './payments.postgres.ts'

/** Who asked for an invoice charges it at once, and has so long for it. */
const GRACE_MS = 60_000

/**
 * Charges what no run issued and whoever asked for it did not: the process died on the way, or the gateway gave no answer.
 * Invoices that were declined are left alone. The same steps, and the same key, as of the call (collect-payments.ts).
 */
export function besideChore(
  deps: CollectDeps,
  tenantsWithUnpaid: (issuedUntilMs: number) => Promise<TenantId[]>,
): Chore {
  return {
    tenantsDue: (nowMs) => tenantsWithUnpaid(nowMs - GRACE_MS),
    work: async (tenantId, failed) => {
      const issuedUntilMs = deps.now() - GRACE_MS
      let after: string | null = null
      while (!deps.stopping()) {
        const page: { after: string | null; limit: number } = { after, limit: deps.chunkSize }
        const unpaid = await deps.transact(tenantId, (tx) => listUnpaidBeside(tx, issuedUntilMs, page))
        for (const { id, customerId } of unpaid) {
          if (deps.stopping()) break
          await collectInvoice(deps, tenantId, id).catch((error: unknown) => failed(customerId, error))
        }
        after = unpaid.at(-1)?.id ?? null
        if (after === null) break
      }
      // What had no answer is asked for again in a minute, not at once.
      return 0
    },
    trouble: {
      event: 'one_off_payment_failed',
      message: 'an invoice that no run issued could not be charged; it is tried again in a minute, under the same key',
    },
  }
}
