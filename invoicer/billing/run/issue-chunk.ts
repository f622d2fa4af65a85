import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Announce } from '../../outbox/announce.ts'
import { insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import type { Means, Transact } from '../../transaction.ts'
import {
  type Advance,
  claimSubscriptions,
  insertBilledUsage,
  insertLines,
  insertNumbered,
  insertParked,
  listOvertaken,
} from '../invoices/issue.postgres.ts'
import type { NewInvoice } from '../invoices/rated-invoice.ts'
import { lockPendingItems, markInvoiced } from '../items/items.postgres.ts'
import type { BillingRun } from './billing-run.ts'
import type { Parked, RatedChunk } from './rate-chunk.ts'

/** An invoice that is about to be issued. */
export type InvoiceToPay = {
  id: string
  customerId: string
  subscriptionId: string
  currency: string
  totalMinor: bigint
}
/** Answers what prepaid credit paid of each invoice, in their transaction. It lies above billing, and is handed in. */
export type DrawCredit = (
  tx: TenantTransaction,
  invoices: readonly InvoiceToPay[],
  atMs: number,
) => Promise<ReadonlyMap<string, bigint>>
/** Answers what the customer's balance paid of each invoice behind that; below 0 what a negative total gave to it. */
export type ApplyBalance = (
  tx: TenantTransaction,
  invoices: readonly InvoiceToPay[],
  creditOf: ReadonlyMap<string, bigint>,
  atMs: number,
) => Promise<ReadonlyMap<string, bigint>>
export type IssueDeps = Means & {
  transact: Transact
  announce: Announce
  drawCredit: DrawCredit
  applyBalance: ApplyBalance
}
type ParkedOne = Omit<Parked, 'subscription'> & { subscription: Pick<Parked['subscription'], 'id' | 'customerId'> }
type Issuable = Pick<RatedChunk, 'invoices' | 'parked'>

/** SQLSTATE: class 22 says that a value is at fault (out of range, overflow), 23514 that it breaks a CHECK. */
const DATA_ERROR = /^(22...|23514)$/
/** The keys that keep a period from being billed twice, should a subscription stand where it stood before. */
const BILLED_BEFORE = /^(billed_usage_pkey|invoices_tenant_id_subscription_id_period_(start|end)_key)$/

/**
 * Stores a rated chunk in one transaction. Answers whether all of it is new: what is not, somebody else has billed
 * meanwhile, perhaps not up to where this run is to bill. Order of effects:
 *   pending items locked → subscriptions moved on → lines → items marked → billed usage → credit drawn → balance applied
 *   → history, outbox → invoices with numbers, last → commit → log, metric
 * A crash before the commit leaves nothing, numbers included; one after it leaves the whole chunk, and a repeated chunk
 * finds its subscriptions moved on, so nothing of it is stored again. Between commit and log a crash loses log lines
 * and counts of the metric, never money.
 *
 * What the database refuses because of its content would be refused each time, and nobody of the chunk would be billed
 * again: then each subscription gets a transaction of its own, and the one at fault is parked.
 */
export async function issueChunk(
  deps: IssueDeps,
  tenantId: TenantId,
  run: BillingRun,
  chunk: Issuable,
): Promise<boolean> {
  try {
    return await issueTogether(deps, tenantId, run, chunk)
  } catch (error) {
    if (!isDataError(error)) throw error
    return issueOneByOne(deps, tenantId, run, chunk)
  }
}

async function issueTogether(deps: IssueDeps, tenantId: TenantId, run: BillingRun, chunk: Issuable): Promise<boolean> {
  const wanted = chunk.invoices.map((invoice) => ({ ...invoice, id: deps.newId() }))
  const issued = await deps.transact(tenantId, async (tx) => {
    const atMs = deps.now()
    await park(tx, deps, run, chunk.parked, atMs)
    const invoices = await claim(tx, wanted)
    if (invoices.length > 0) await store(tx, deps, run, invoices, atMs)
    return invoices
  })
  for (const invoice of issued) announceIssued(deps.announce, invoice)
  return issued.length === wanted.length
}

async function issueOneByOne(deps: IssueDeps, tenantId: TenantId, run: BillingRun, chunk: Issuable): Promise<boolean> {
  let allNew = true
  for (const part of bySubscription(chunk)) {
    const isNew = await issueOrPark(deps, tenantId, run, part)
    allNew &&= isNew
  }
  return allNew
}

/** In the order of the chunk. */
function bySubscription({ invoices, parked }: Issuable): Issuable[] {
  const ids = new Set([...invoices, ...parked].map(({ subscription }) => subscription.id))
  return [...ids].map((id) => ({
    invoices: invoices.filter(({ subscription }) => subscription.id === id),
    parked: parked.filter(({ subscription }) => subscription.id === id),
  }))
}

async function issueOrPark(deps: IssueDeps, tenantId: TenantId, run: BillingRun, part: Issuable): Promise<boolean> {
  try {
    return await issueTogether(deps, tenantId, run, part)
  } catch (error) {
    const [first] = part.invoices
    if (first === undefined || !(error instanceof Error) || !isDataError(error)) throw error
    const { subscription, period } = first
    const reason = error instanceof Problem ? error.message : `Its invoice cannot be stored: ${error.message}.`
    return issueTogether(deps, tenantId, run, {
      invoices: [],
      parked: [{ subscription, periodStartMs: period.startMs, reason }],
    })
  }
}

/** The content is at fault: it would be refused each time. */
export function isDataError(error: unknown): boolean {
  if (error instanceof Problem) return error.code === 'calculation_failed'
  const { code, constraint } = (error ?? {}) as { code?: unknown; constraint?: unknown }
  return DATA_ERROR.test(String(code)) || (code === '23505' && BILLED_BEFORE.test(String(constraint)))
}

/**
 * Those of the invoices whose items still wait, and whose subscription stands where they start: the others are issued by
 * somebody else, or are to be rated again. An invoice of its own moves nothing on; its items alone are its claim.
 */
async function claim(tx: TenantTransaction, rated: readonly NewInvoice[]): Promise<NewInvoice[]> {
  const wanted = await withOwnItems(tx, rated)
  const advances = advancesOf(wanted.filter(({ offCycle }) => !offCycle))
  if (advances.length === 0) return wanted.filter(({ offCycle }) => offCycle)
  const claimed = await claimSubscriptions(tx, advances)
  const missed = advances.filter(({ subscriptionId }) => !claimed.has(subscriptionId))
  if (missed.length > 0 && (await listOvertaken(tx, missed)).size !== missed.length) {
    throw new Problem('calculation_failed', 'A subscription was billed up to another period than its invoices say.')
  }
  return wanted.filter(({ subscription, offCycle }) => offCycle || claimed.has(subscription.id))
}

/** Without those of subscriptions one of whose items was invoiced or deleted since. */
async function withOwnItems(tx: TenantTransaction, rated: readonly NewInvoice[]): Promise<readonly NewInvoice[]> {
  const itemIds = rated.flatMap(itemPlaces).map(({ itemId }) => itemId)
  if (itemIds.length === 0) return rated
  const waiting = await lockPendingItems(tx, itemIds)
  const missed = rated.filter((invoice) => itemPlaces(invoice).some(({ itemId }) => !waiting.has(itemId)))
  const subscriptions = new Set(missed.map(({ subscription }) => subscription.id))
  return rated.filter(({ subscription }) => !subscriptions.has(subscription.id))
}

/** Which line is made from what waited for the invoice. */
function itemPlaces({ id: invoiceId, draft }: NewInvoice): { itemId: string; invoiceId: string; lineIndex: number }[] {
  return draft.lines.flatMap(({ itemId }, lineIndex) =>
    itemId === undefined ? [] : [{ itemId, invoiceId, lineIndex }],
  )
}

async function store(
  tx: TenantTransaction,
  means: IssueDeps,
  run: BillingRun,
  invoices: readonly NewInvoice[],
  atMs: number,
): Promise<void> {
  await insertLines(tx, invoices)
  const places = invoices.flatMap(itemPlaces)
  if (places.length > 0) await markInvoiced(tx, places)
  await insertBilledUsage(tx, run.sealId, invoices)
  const owing = invoices.map(toPay)
  const credit = await means.drawCredit(tx, owing, atMs)
  const balance = await means.applyBalance(tx, owing, credit, atMs)
  const paidOf = ({ id }: NewInvoice) => ({ creditMinor: credit.get(id) ?? 0n, balanceMinor: balance.get(id) ?? 0n })
  const events = invoices.map((invoice) => issuedEvent(means, run, invoice, paidOf(invoice)))
  for (const invoice of invoices) {
    if (invoice.next === null && !invoice.offCycle) events.push(endedEvent(means, run, invoice))
  }
  await insertBillingEvents(tx, events, atMs)
  await insertNumbered(tx, run.id, invoices, credit, balance, atMs)
}

function toPay({ id, subscription, plan, draft }: NewInvoice): InvoiceToPay {
  const { id: subscriptionId, customerId } = subscription
  return { id, customerId, subscriptionId, currency: plan.currency, totalMinor: draft.totalMinor }
}

/** The invoices of a subscription stand together, in order. */
function advancesOf(invoices: readonly NewInvoice[]): Advance[] {
  const advances = new Map<string, Advance>()
  for (const { subscription, period, next } of invoices) {
    const fromMs = advances.get(subscription.id)?.fromMs ?? period.startMs
    const { id: subscriptionId, revision } = subscription
    advances.set(subscriptionId, { subscriptionId, fromMs, revision, next })
  }
  return [...advances.values()]
}

function issuedEvent(
  means: Means,
  run: BillingRun,
  invoice: NewInvoice,
  { creditMinor, balanceMinor }: { creditMinor: bigint; balanceMinor: bigint },
): NewBillingEvent {
  const { id, subscription, period, plan, draft } = invoice
  return {
    id: means.newId(),
    event: 'invoice.finalised',
    customerId: subscription.customerId,
    subscriptionId: subscription.id,
    invoiceId: id,
    billingRunId: run.id,
    data: {
      total: formatMoney(draft.totalMinor, plan.currency),
      credit: formatMoney(creditMinor, plan.currency),
      balance: formatMoney(balanceMinor, plan.currency),
      amount_due: formatMoney(draft.totalMinor - creditMinor - balanceMinor, plan.currency),
      currency: plan.currency,
      period_start: new Date(period.startMs).toISOString(),
      period_end: new Date(period.endMs).toISOString(),
      seal_id: run.sealId,
    },
  }
}

/** Its last period has an invoice. */
function endedEvent(means: Means, run: BillingRun, { subscription, period }: NewInvoice): NewBillingEvent {
  return {
    id: means.newId(),
    event: 'subscription.updated',
    customerId: subscription.customerId,
    subscriptionId: subscription.id,
    billingRunId: run.id,
    data: { change: 'ended', state: 'ended', end: new Date(period.endMs).toISOString() },
  }
}

/** Leaves subscriptions out of the run, each with its reason, which is told once. */
export async function park(
  tx: TenantTransaction,
  means: Means,
  run: BillingRun,
  parked: readonly ParkedOne[],
  atMs: number,
): Promise<void> {
  if (parked.length === 0) return
  const rows = parked.map(({ subscription, ...rest }) => ({ subscriptionId: subscription.id, ...rest }))
  const fresh = await insertParked(tx, run.id, rows, atMs)
  const events = parked
    .filter(({ subscription }) => fresh.has(subscription.id))
    .map(({ subscription, periodStartMs, reason }) => ({
      id: means.newId(),
      event: 'subscription.parked' as const,
      billingRunId: run.id,
      customerId: subscription.customerId,
      subscriptionId: subscription.id,
      data: { reason, period_start: new Date(periodStartMs).toISOString() },
    }))
  await insertBillingEvents(tx, events, atMs)
}

function announceIssued(announce: Announce, { id, subscription, plan, draft }: NewInvoice): void {
  const meters = new Set(draft.lines.flatMap((line) => line.meter ?? []))
  announce({
    event: 'invoice_finalised',
    userId: subscription.customerKey,
    usageType: meters.size === 0 ? 'subscription' : [...meters].join(','),
    amount: formatMoney(draft.totalMinor, plan.currency),
    currency: plan.currency,
    invoiceId: id,
  })
}
