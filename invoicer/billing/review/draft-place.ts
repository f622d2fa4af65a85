import type { TenantId } from '../../../schemas/http/door.ts'
import { rateAgainChunk } from '../again/bill-again.ts'
import type { DueSubscription } from '../due.ts'
import { asBilled } from '../fees/fees-to-bill.ts'
import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import type { PendingItem } from '../items/invoice-item.ts'
import type { ItemsOf } from '../items/with-items.ts'
import { listToRate } from '../preview/to-rate.postgres.ts'
import { askedBy, rateProgressive } from '../progressive/bill-progressive.ts'
import { type RateDeps, rateDue, readDue } from '../run/bill-due.ts'
import { rateLeft, rateLeftChunk } from '../run/bill-left-waiting.ts'
import type { PlanCache } from '../run/billable-plans.ts'
import type { BillingRun } from '../run/billing-run.ts'
import type { RatedChunk } from '../run/rate-chunk.ts'
import { draftsOf, type RunDraft, type Standing, standingsBehind } from './draft.ts'
import { listDrafted, listStandings, type Served } from './drafts.postgres.ts'
import { findDueWindow, listEnded, listEndedOf } from './ended.postgres.ts'
import type { Late } from './late-items.ts'
import { missedBy } from './missing.ts'
import type { Place } from './places.postgres.ts'

const NOTHING_LATE: ReadonlyMap<string, readonly PendingItem[]> = new Map()

/** The drafts of a place, and the place behind them. It has no effects. */
export type Drafted = { drafts: RunDraft[]; next: Place }

/** By the functions of a run, chunk by chunk. A run that tries another one's parked subscriptions again drafts those alone. */
export async function draftPlace(
  deps: RateDeps,
  plans: PlanCache,
  late: Late,
  tenantId: TenantId,
  run: BillingRun,
  place: Place,
): Promise<Drafted> {
  if (place.part === 'again') return draftAgain(deps, plans, tenantId, run, place.after)
  if (place.part === 'waiting') return draftWaiting(deps, plans, late, tenantId, run, place.after)
  if (place.part === 'late') return draftLate(deps, plans, late, tenantId, run, place.after)
  if (place.part === 'due') return draftDue(deps, plans, late, tenantId, run, place.after)
  if (place.part === 'progressive') return draftProgressive(deps, plans, tenantId, run, place.after)
  return draftMissing(deps, tenantId, run, place.after)
}

/** Of several void invoices of a subscription the first: the others come once that has its invoice. */
async function draftAgain(
  deps: RateDeps,
  plans: PlanCache,
  tenantId: TenantId,
  run: BillingRun,
  after: string | null,
): Promise<Drafted> {
  const chunk = run.retriesRun === null ? await rateAgainChunk(deps, plans, tenantId, run, after) : undefined
  if (chunk === undefined) return { drafts: [], next: { part: 'waiting', after: null } }
  return { drafts: await drafted(deps, tenantId, chunk), next: { part: 'again', after: chunk.lastId } }
}

async function draftWaiting(
  deps: RateDeps,
  plans: PlanCache,
  late: Late,
  tenantId: TenantId,
  run: BillingRun,
  after: string | null,
): Promise<Drafted> {
  const chunk =
    run.retriesRun === null ? await rateLeftChunk(deps, plans, tenantId, run, after, late.itemsOf) : undefined
  if (chunk === undefined) return { drafts: [], next: { part: 'late', after: null } }
  return { drafts: await drafted(deps, tenantId, chunk), next: { part: 'waiting', after: chunk.lastId } }
}

/** What came late alone, for subscriptions that have ended; those that something waits for have it with that. */
async function draftLate(
  deps: RateDeps,
  plans: PlanCache,
  late: Late,
  tenantId: TenantId,
  run: BillingRun,
  after: string | null,
): Promise<Drafted> {
  const subjects = run.retriesRun === null ? await late.subjects() : []
  const { ended, served } = await deps.transact(tenantId, async (tx) => {
    const ended = await listToRate(tx, await listEndedOf(tx, subjects, { after, limit: deps.chunkSize }))
    const customerIds = ended.map(({ customerId }) => customerId)
    return { ended, served: await listDrafted(tx, run.id, customerIds) }
  })
  const lastId = ended
    .map(({ id }) => id)
    .sort()
    .at(-1)
  if (lastId === undefined) return { drafts: [], next: { part: 'due', after: null } }
  const alone = ended.filter(({ id }) => !served.subscriptionIds.has(id))
  const items = await late.itemsOf(alone)
  const itemsOf = new Map(alone.map(({ id }) => [id, items.get(id) ?? []]))
  const rated = await rateLeft(deps, plans, tenantId, run, alone, itemsOf)
  return { drafts: await drafted(deps, tenantId, rated), next: { part: 'late', after: lastId } }
}

async function draftDue(
  deps: RateDeps,
  plans: PlanCache,
  late: Late,
  tenantId: TenantId,
  run: BillingRun,
  after: string | null,
): Promise<Drafted> {
  const { due, itemsOf } = await readDue(deps, tenantId, run, after)
  const last = due.at(-1)
  if (last === undefined)
    return { drafts: [], next: { part: run.retriesRun === null ? 'progressive' : 'done', after: null } }
  const customerIds = due.map(({ customerId }) => customerId)
  const known = await deps.transact(tenantId, async (tx) => ({
    served: await listDrafted(tx, run.id, customerIds),
    standings: await listStandings(
      tx,
      due.map(({ id }) => id),
    ),
  }))
  let standings: ReadonlyMap<string, Standing> = known.standings
  const passes: RunDraft[][] = []
  let chunk: DueSubscription[] = due
  const lateOf = run.retriesRun === null ? await late.itemsOf(due) : NOTHING_LATE
  const waiting = leftOf(itemsOf, known.served)
  let items: ItemsOf = (subscription) => [...waiting(subscription), ...(lateOf.get(subscription.id) ?? [])]
  // As a run takes several passes over subscriptions with many due periods; what waits is on the first of them. Of each
  // pass its drafts are kept alone: invoices with all their lines would grow with the periods.
  while (chunk.length > 0) {
    const rated = await rateDue(deps, plans, tenantId, run, chunk, items)
    const drafts = draftsOf(rated, standings)
    standings = standingsBehind(standings, drafts)
    passes.push(drafts)
    chunk = rated.more ? furtherDue(rated, run.asOfMs) : []
    items = () => []
  }
  return { drafts: passes.flat(), next: { part: 'due', after: last.id } }
}

/** Of subscriptions that have nothing else due: of the others the run comes to it once that is billed. */
async function draftProgressive(
  deps: RateDeps,
  plans: PlanCache,
  tenantId: TenantId,
  run: BillingRun,
  after: string | null,
): Promise<Drafted> {
  const chunk = await rateProgressive(deps, plans, tenantId, askedBy(run), after)
  if (chunk === undefined) return { drafts: [], next: { part: 'missing', after: null } }
  return { drafts: await drafted(deps, tenantId, chunk), next: { part: 'progressive', after: chunk.lastId } }
}

/** What waits is on the first invoice drafted of its subscription; if it names none, of its customer. */
function leftOf(itemsOf: ItemsOf, served: Served): ItemsOf {
  const isLeft = ({ customerId, subscriptionId }: PendingItem) =>
    subscriptionId === null ? !served.customerIds.has(customerId) : !served.subscriptionIds.has(subscriptionId)
  return (subscription) => itemsOf(subscription).filter(isLeft)
}

/** Subscriptions that have due periods behind those that were rated, as they will stand then. */
function furtherDue({ invoices, parked }: RatedChunk, asOfMs: number): DueSubscription[] {
  const refused = new Set(parked.map(({ subscription }) => subscription.id))
  const invoicesOf = grouped(invoices)
  return [...invoicesOf.values()].flatMap((own) => {
    const last = own.findLast(({ offCycle }) => !offCycle)
    if (last === undefined || refused.has(last.subscription.id)) return []
    const { subscription, next, feesDueMs = null } = last
    if (next === null || next.endMs + subscription.graceMs > asOfMs) return []
    const billedFees = [...(subscription.billedFees ?? []), ...own.flatMap(({ draft }) => asBilled(draft.lines))]
    const draws = subscription.draws && [
      ...subscription.draws,
      ...own.flatMap(({ draft }) => draft.lines.flatMap(({ draw }) => draw ?? [])),
    ]
    const further = { ...subscription, billedFees, feesDueMs, next: { startMs: next.startMs, endMs: next.endMs } }
    return [draws === undefined ? further : { ...further, draws }]
  })
}

function grouped(invoices: readonly RatedInvoice[]): Map<string, RatedInvoice[]> {
  const groups = new Map<string, RatedInvoice[]>()
  for (const invoice of invoices) {
    const group = groups.get(invoice.subscription.id)
    if (group) group.push(invoice)
    else groups.set(invoice.subscription.id, [invoice])
  }
  return groups
}

async function draftMissing(
  deps: RateDeps,
  tenantId: TenantId,
  run: BillingRun,
  after: string | null,
): Promise<Drafted> {
  const { window, ended } = await deps.transact(tenantId, async (tx) => {
    const window = await findDueWindow(tx, run)
    return { window, ended: window ? await listEnded(tx, window, { after, limit: deps.chunkSize }) : [] }
  })
  const last = ended.at(-1)
  if (window === undefined || last === undefined) return { drafts: [], next: { part: 'done', after: null } }
  const drafts = ended.flatMap((one) => missedBy(window, one) ?? [])
  return { drafts, next: { part: 'missing', after: last.subscriptionId } }
}

async function drafted(
  deps: RateDeps,
  tenantId: TenantId,
  rated: Pick<RatedChunk, 'invoices' | 'parked'>,
): Promise<RunDraft[]> {
  const ids = [...rated.invoices, ...rated.parked].map(({ subscription }) => subscription.id)
  return draftsOf(rated, await deps.transact(tenantId, (tx) => listStandings(tx, ids)))
}
