import type { TenantId } from '../../../schemas/http/door.ts'
import type { Means } from '../../transaction.ts'
import type { PendingItem } from '../items/invoice-item.ts'
import { lookForChanges, rateLate } from '../late/bill-late-usage.ts'
import { pendingCorrections } from '../late/keep-differences.ts'
import type { RateDeps } from '../run/bill-due.ts'
import type { AlsoWaiting } from '../run/bill-left-waiting.ts'
import type { PlanCache } from '../run/billable-plans.ts'
import type { BillingRun } from '../run/billing-run.ts'
import type { ChangedUsage } from '../usage.ts'

/** What came late. `itemsOf`: what of it would be on the next invoices of subscriptions, by subscription. */
export type Late = { itemsOf: AlsoWaiting; subjects: () => Promise<string[]> }

/** Looks for changes once, as the run will. Nothing is stored. */
export function lookForLate(deps: RateDeps & Means, plans: PlanCache, tenantId: TenantId, run: BillingRun): Late {
  let looked: Promise<ReadonlyMap<string, ChangedUsage[]>> | undefined
  const look = () => {
    looked ??= changesBySubject(deps, tenantId, run)
    return looked
  }
  return {
    subjects: async () => [...(await look()).keys()],
    itemsOf: async (subscriptions) => {
      const bySubject = await look()
      const subjects = new Set(subscriptions.flatMap((subscription) => subscription.subjects))
      const changed = [...subjects].flatMap((subject) => bySubject.get(subject) ?? [])
      if (changed.length === 0) return new Map()
      const { rated } = await rateLate(deps, tenantId, run, plans, changed)
      const items = new Map<string, PendingItem[]>()
      for (const item of pendingCorrections(run, deps, rated.costs)) {
        const id = item.subscriptionId
        if (id === null) continue
        items.set(id, [...(items.get(id) ?? []), { ...item, createdAtMs: deps.now(), sellerId: null }])
      }
      return items
    },
  }
}

async function changesBySubject(
  deps: RateDeps,
  tenantId: TenantId,
  run: BillingRun,
): Promise<ReadonlyMap<string, ChangedUsage[]>> {
  const bySubject = new Map<string, ChangedUsage[]>()
  for (const change of (await lookForChanges(deps, tenantId, run)).changed) {
    bySubject.set(change.subject, [...(bySubject.get(change.subject) ?? []), change])
  }
  return bySubject
}
