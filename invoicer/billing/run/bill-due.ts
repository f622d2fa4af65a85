import type { TenantId } from '../../../schemas/http/door.ts'
import type { UsageReader } from '../usage.ts'
import { loadPlans, type PlanCache } from './billable-plans.ts'
import type { BillingRun } from './billing-run.ts'
import { listDue } from './due.postgres.ts'
import { type IssueDeps, issueChunk } from './issue-chunk.ts'
import { rateChunk } from './rate-chunk.ts'
import type { Progress } from './steps.ts'

export type BillDeps = IssueDeps & { usage: UsageReader; stopping: () => boolean; chunkSize: number }

/**
 * Rates and issues everything due, chunk by chunk in the order of subscription ids. What is issued is no longer due, so
 * a continued run starts over and finds the rest. Subscriptions with many due periods take several passes. False when
 * the process is to stop first.
 */
export async function billDue(
  deps: BillDeps,
  progress: Progress,
  tenantId: TenantId,
  run: BillingRun,
): Promise<boolean> {
  const plans: PlanCache = new Map()
  let after: string | null = null
  let anotherPass = false
  while (!deps.stopping()) {
    await progress('rate')
    const page: { after: string | null; limit: number } = { after, limit: deps.chunkSize }
    const chunk = await deps.transact(tenantId, (tx) => listDue(tx, run.asOfMs, run.id, page))
    const last = chunk.at(-1)
    if (last === undefined && !anotherPass) return true
    if (last === undefined) {
      after = null
      anotherPass = false
      continue
    }
    const planIds = chunk.map((subscription) => subscription.planId)
    const rated = await rateChunk(
      deps.usage,
      tenantId,
      run,
      chunk,
      await loadPlans(deps.transact, tenantId, plans, planIds),
    )
    await progress('issue')
    await issueChunk(deps, tenantId, run, rated)
    after = last.id
    anotherPass ||= rated.more
  }
  return false
}
