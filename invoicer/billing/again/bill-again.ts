import type { TenantId } from '../../../schemas/http/door.ts'
import type { DueSubscription } from '../due.ts'
import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import { listPendingItems } from '../items/items.postgres.ts'
import { type ItemsOf, shareItems } from '../items/with-items.ts'
import { listToRate } from '../preview/to-rate.postgres.ts'
import { type BillDeps, type RateDeps, rateDue } from '../run/bill-due.ts'
import type { PlanCache } from '../run/billable-plans.ts'
import type { BillingRun } from '../run/billing-run.ts'
import { issueChunk } from '../run/issue-chunk.ts'
import type { Parked, RatedChunk } from '../run/rate-chunk.ts'
import { type AgainPeriod, listAgain } from './again.postgres.ts'

/**
 * Issues invoices in the place of void ones, before anything else of the run: each period as a run would bill it that knew
 * all that is known before W, with what waits for its subscription. It moves no subscription on: its row in
 * periods_to_bill_again is its claim, so that two runners issue one invoice. A subscription with several such periods takes
 * several passes. False when the process is to stop first.
 */
export async function billAgain(deps: BillDeps, tenantId: TenantId, run: BillingRun): Promise<boolean> {
  const plans: PlanCache = new Map()
  for (;;) {
    let issued = 0
    let after: string | null = null
    for (;;) {
      if (deps.stopping()) return false
      const again: AgainChunk | undefined = await rateAgainChunk(deps, plans, tenantId, run, after)
      if (again === undefined) break
      await issueChunk(deps, tenantId, run, again)
      issued += again.invoices.length
      after = again.lastId
    }
    if (issued === 0) return true
  }
}

type AgainChunk = Pick<RatedChunk, 'invoices' | 'parked'> & { lastId: string }

/** The next of these invoices, as they would be issued; undefined behind the last. Nothing is stored. */
export async function rateAgainChunk(
  deps: RateDeps,
  plans: PlanCache,
  tenantId: TenantId,
  run: BillingRun,
  after: string | null,
): Promise<AgainChunk | undefined> {
  const { periods, subscriptions, itemsOf } = await readAgain(deps, tenantId, run, { after, limit: deps.chunkSize })
  const lastId = periods.at(-1)?.subscriptionId
  if (lastId === undefined) return undefined
  const chunk = subscriptions.map(({ subscription }) => subscription)
  const rated = await rateDue(deps, plans, tenantId, run, chunk, itemsOf)
  return { ...replacements(rated, periods), lastId }
}

type Work = { subscription: DueSubscription }

async function readAgain(
  deps: RateDeps,
  tenantId: TenantId,
  run: BillingRun,
  page: { after: string | null; limit: number },
): Promise<{ periods: AgainPeriod[]; subscriptions: Work[]; itemsOf: ItemsOf }> {
  return deps.transact(tenantId, async (tx) => {
    const periods = await listAgain(tx, run, page)
    const ids = periods.map(({ subscriptionId }) => subscriptionId)
    const byId = new Map((await listToRate(tx, ids)).map((one) => [one.id, one]))
    const subscriptions = periods.flatMap(({ subscriptionId, period }): Work[] => {
      const found = byId.get(subscriptionId)
      // As if the run came right behind the period: none after it is due.
      return found ? [{ subscription: { ...found, next: period, graceMs: run.asOfMs - period.endMs } }] : []
    })
    const customerIds = subscriptions.map(({ subscription }) => subscription.customerId)
    return { periods, subscriptions, itemsOf: shareItems(await listPendingItems(tx, customerIds)) }
  })
}

/** What was rated, in the place of void invoices. Why a period behind these could not be billed is no matter here. */
function replacements(rated: RatedChunk, periods: readonly AgainPeriod[]): Pick<RatedChunk, 'invoices' | 'parked'> {
  const byId = new Map(periods.map((one) => [one.subscriptionId, one]))
  const invoices = rated.invoices.map((invoice): RatedInvoice => {
    const again = byId.get(invoice.subscription.id)
    return invoice.offCycle || again === undefined ? invoice : { ...invoice, replaces: again.voidInvoiceId }
  })
  const isTheirs = ({ subscription, periodStartMs }: Parked) =>
    byId.get(subscription.id)?.period.startMs === periodStartMs
  return { invoices, parked: rated.parked.filter(isTheirs) }
}
