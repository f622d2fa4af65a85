import { KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { RateDeps } from '../run/bill-due.ts'
import type { PlanCache } from '../run/billable-plans.ts'
import { listReached } from './bill-progressive.ts'

/** What a run has parked is tried again. */
const TRY_AGAIN_AFTER_MS = 24 * 3_600_000

/**
 * Whether a run is to be opened because a running period came to its threshold, by all that is known now. Discounts and tax
 * are the run's, which parks what they refuse; what it could not issue opens one a day. Without thresholds it is one
 * statement.
 */
export async function isProgressDue(deps: RateDeps, tenantId: TenantId, atMs: number): Promise<boolean> {
  const plans: PlanCache = new Map()
  const asked = {
    asOfMs: atMs,
    knownBeforeMs: KNOWN_UNTIL_NOW_MS,
    runId: null,
    parkedSinceMs: atMs - TRY_AGAIN_AFTER_MS,
  }
  let after: string | null = null
  for (;;) {
    const chunk = await listReached(deps, plans, tenantId, asked, after)
    if (chunk === undefined) return false
    if (chunk.invoices.length > 0) return true
    after = chunk.lastId
  }
}
