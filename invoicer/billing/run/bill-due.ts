import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { Transact } from '../../transaction.ts'
import { withDraws } from '../commitments/load-draws.ts'
import { discountChunk } from '../discounts/discount-chunk.ts'
import { loadDiscounts } from '../discounts/discounts.postgres.ts'
import { type DueSubscription, payerIdOf } from '../due.ts'
import { listPendingItems } from '../items/items.postgres.ts'
import { type ItemsOf, shareItems } from '../items/with-items.ts'
import { planIdsOf } from '../shares.ts'
import { type TaxEngine, taxWithoutStripe } from '../tax/tax-port.ts'
import { loadTaxes } from '../tax/taxes.postgres.ts'
import type { UsageReader } from '../usage.ts'
import { loadPlans, type PlanCache } from './billable-plans.ts'
import type { BillingRun } from './billing-run.ts'
import { listDue } from './due.postgres.ts'
import { type IssueDeps, issueChunk } from './issue-chunk.ts'
import { type RatedChunk, rateChunk } from './rate-chunk.ts'
import type { Progress } from './steps.ts'
import { taxChunk } from './tax-chunk.ts'

export type BillDeps = IssueDeps & RateDeps & { stopping: () => boolean }
/** What rating needs; it has no effects. */
export type RateDeps = {
  transact: Transact
  usage: UsageReader
  chunkSize: number
  /** By default without Stripe Tax. */
  tax?: TaxEngine
}

type Rated = RatedChunk & { lastId: string }

/**
 * So many chunks are issued at the same time: while Postgres works for one, the statements of the other are prepared, and
 * the next is rated. What they have in common, customers' credit and balances and the numbers, is locked in one order.
 */
const ISSUED_AT_ONCE = 2

/**
 * Rates and issues everything due, chunk by chunk in the order of subscription ids; while some are issued the next is
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
    const { due, itemsOf } = await readDue(deps, tenantId, run, after)
    const last = due.at(-1)
    if (last === undefined) return undefined
    return { ...(await rateDue(deps, plans, tenantId, run, due, itemsOf)), lastId: last.id }
  }
  const issue = async (rated: Rated): Promise<boolean> => {
    const allNew = await issueChunk(deps, tenantId, run, rated)
    return rated.more || !allNew
  }
  let pass: Pass = 'left_something'
  while (pass === 'left_something' && !deps.stopping()) pass = await onePass(deps, progress, rateAfter, issue)
  return pass === 'left_nothing'
}

type Pass = 'left_nothing' | 'left_something' | 'stopped'

/**
 * All chunks once. Behind an error no other chunk is begun, and nothing goes on behind the back of whoever hears of it: of
 * several the first, but that the run was cancelled comes before all others.
 */
async function onePass(
  { stopping }: Pick<BillDeps, 'stopping'>,
  progress: Progress,
  rateAfter: (after: string | null) => Promise<Rated | undefined>,
  issue: (rated: Rated) => Promise<boolean>,
): Promise<Pass> {
  const issuing = new Set<Promise<void>>()
  const errors: unknown[] = []
  let pass: Pass = 'left_nothing'
  const begin = (rated: Rated) => {
    const issued = issue(rated)
      .then((leaves) => {
        if (leaves && pass === 'left_nothing') pass = 'left_something'
      })
      .catch((error: unknown) => errors.push(error))
      .then(() => void issuing.delete(issued))
    issuing.add(issued)
  }
  try {
    let rated = await rateAfter(null)
    while (rated !== undefined && errors.length === 0) {
      if (stopping()) {
        pass = 'stopped'
        break
      }
      await progress('issue')
      begin(rated)
      rated = await rateAfter(rated.lastId)
      if (issuing.size === ISSUED_AT_ONCE) await Promise.race(issuing)
    }
  } catch (error) {
    errors.push(error)
  }
  await Promise.all(issuing)
  if (errors.length > 0) throw errors.find(isCancelled) ?? errors[0]
  return pass
}

function isCancelled(error: unknown): boolean {
  return error instanceof Problem && error.code === 'illegal_state'
}

/** The next chunk of what is due, and what waits for its invoices. */
export async function readDue(
  deps: RateDeps,
  tenantId: TenantId,
  run: BillingRun,
  after: string | null,
): Promise<{ due: DueSubscription[]; itemsOf: ItemsOf }> {
  const page = { after, limit: deps.chunkSize }
  return deps.transact(tenantId, async (tx) => {
    const due = await listDue(tx, run.asOfMs, run.id, page, run.retriesRun)
    const customerIds = due.map(({ customerId }) => customerId)
    return { due, itemsOf: shareItems(await listPendingItems(tx, customerIds)) }
  })
}

/** The invoices of a chunk, tax included, as they would be issued; nothing is stored. */
export async function rateDue(
  deps: RateDeps,
  plans: PlanCache,
  tenantId: TenantId,
  run: BillingRun,
  chunk: readonly DueSubscription[],
  itemsOf: ItemsOf,
): Promise<RatedChunk> {
  const planOf = await loadPlans(deps.transact, tenantId, plans, chunk.flatMap(planIdsOf))
  const drawing = await withDraws(deps.transact, tenantId, chunk, planOf)
  const rated = await rateChunk(deps.usage, tenantId, run, drawing, planOf, itemsOf)
  const payerIds = chunk.map(payerIdOf)
  // Behind the reading of usage, which may take long: what was changed meanwhile counts.
  const { taxOf, discountsOf } = await deps.transact(tenantId, async (tx) => ({
    taxOf: await loadTaxes(tx, payerIds),
    discountsOf: await loadDiscounts(tx, chunk, run.knownBeforeMs),
  }))
  return taxChunk(deps.tax ?? taxWithoutStripe, taxOf, discountChunk(rated, discountsOf), run.asOfMs)
}
