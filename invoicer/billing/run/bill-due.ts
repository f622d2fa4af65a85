import type { TenantId } from '../../../schemas/http/door.ts'
import { listPendingItems } from '../items/items.postgres.ts'
import { shareItems } from '../items/with-items.ts'
import { planIdsOf } from '../shares.ts'
import { embeddedTax } from '../tax/tax-port.ts'
import { loadTaxes } from '../tax/taxes.postgres.ts'
import type { UsageReader } from '../usage.ts'
import { loadPlans, type PlanCache } from './billable-plans.ts'
import type { BillingRun } from './billing-run.ts'
import { listDue } from './due.postgres.ts'
import { type IssueDeps, issueChunk } from './issue-chunk.ts'
import { type RatedChunk, rateChunk } from './rate-chunk.ts'
import type { Progress } from './steps.ts'
import { taxChunk } from './tax-chunk.ts'

export type BillDeps = IssueDeps & { usage: UsageReader; stopping: () => boolean; chunkSize: number }

type Rated = RatedChunk & { lastId: string }

/**
 * Rates and issues everything due, chunk by chunk in the order of subscription ids; while one is issued the next is
 * rated, which has no effects. What is issued is no longer due, so a continued run starts over and finds the rest.
 * Subscriptions with many due periods take several passes. False when the process is to stop first.
 */
export async function billDue(
  deps: BillDeps,
  progress: Progress,
  tenantId: TenantId,
  run: BillingRun,
): Promise<boolean> {
  const plans: PlanCache = new Map()
  const rateAfter = async (after: string | null): Promise<Rated | undefined> => {
    await progress('rate')
    const page = { after, limit: deps.chunkSize }
    const { chunk, customerIds, items } = await deps.transact(tenantId, async (tx) => {
      const due = await listDue(tx, run.asOfMs, run.id, page)
      const customerIds = due.map((subscription) => subscription.customerId)
      return { chunk: due, customerIds, items: await listPendingItems(tx, customerIds) }
    })
    const last = chunk.at(-1)
    if (last === undefined) return undefined
    const planIds = chunk.flatMap(planIdsOf)
    const planOf = await loadPlans(deps.transact, tenantId, plans, planIds)
    const rated = await rateChunk(deps.usage, tenantId, run, chunk, planOf, shareItems(items))
    // Behind the reading of usage, which may take long: what was changed meanwhile counts.
    const taxOf = await deps.transact(tenantId, (tx) => loadTaxes(tx, customerIds))
    return { ...(await taxChunk(embeddedTax, taxOf, rated, run.asOfMs)), lastId: last.id }
  }
  let anotherPass = true
  while (anotherPass) {
    anotherPass = false
    if (deps.stopping()) return false
    let rated = await rateAfter(null)
    while (rated !== undefined) {
      if (deps.stopping()) return false
      await progress('issue')
      const [allNew, following]: [boolean, Rated | undefined] = await both(
        issueChunk(deps, tenantId, run, rated),
        rateAfter(rated.lastId),
      )
      anotherPass ||= rated.more || !allNew
      rated = following
    }
  }
  return true
}

/** Like Promise.all, and nothing goes on behind the back of whoever hears of an error. */
async function both<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other])
  return Promise.all([one, other])
}
