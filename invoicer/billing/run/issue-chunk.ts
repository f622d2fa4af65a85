import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { findInvoiceSettings } from '../../agreements/invoice-settings/invoice-settings.postgres.ts'
import { type LeastDue, leastDueMinor } from '../../agreements/invoice-settings/settings.ts'
import { timeTexts } from '../../array-text.ts'
import type { Announce } from '../../outbox/announce.ts'
import { insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import type { Means, Transact } from '../../transaction.ts'
import { insertDraws, type NewDraw } from '../commitments/draws.postgres.ts'
import { insertParts } from '../consolidated/gather.postgres.ts'
import { insertInvoiceDiscounts } from '../discounts/discounts.postgres.ts'
import { payerIdOf, type ToRate } from '../due.ts'
import { insertBilledFees } from '../fees/fees.postgres.ts'
import { insertBilledUsage, insertLines, insertNumbered, insertParked } from '../invoices/issue.postgres.ts'
import { keepTexts } from '../invoices/issued-texts.postgres.ts'
import { type Applied, type NewInvoice, NOTHING_APPLIED } from '../invoices/rated-invoice.ts'
import { billsNothing, insertSuppressed } from '../invoices/suppress.postgres.ts'
import { markInvoiced } from '../items/items.postgres.ts'
import type { Line } from '../lines.ts'
import { insertProgressive } from '../progressive/progress.postgres.ts'
import type { BillingRun } from './billing-run.ts'
import { claim, itemPlaces, movesNothing } from './claim.ts'
import type { Parked, RatedChunk } from './rate-chunk.ts'
import { holdRun } from './runs.postgres.ts'

/** What of a line says who may pay it, and what it comes to. */
export type LineToPay = Pick<Line, 'chargeKey' | 'meter' | 'amountMinor' | 'tax' | 'breakdown' | 'discount'>
/** An invoice that is about to be issued. */
export type InvoiceToPay = {
  id: string
  customerId: string
  /** Null: it belongs to none. */
  subscriptionId: string | null
  /** Whose invoice it is; null or left out: the tenant's own. */
  legalEntityId?: string | null
  currency: string
  totalMinor: bigint
  lines: readonly LineToPay[]
}
/** Answers what prepaid credit paid of each invoice, in their transaction. It lies above billing, and is handed in. */
export type DrawCredit = (
  tx: TenantTransaction,
  invoices: readonly InvoiceToPay[],
  atMs: number,
) => Promise<ReadonlyMap<string, bigint>>
/**
 * Answers what the customer's balance paid of each invoice behind that, below 0 what a negative total gave to it, and what
 * is carried forward from earlier invoices and to the next one. `leastDue`: an amount below it waits for that.
 */
export type ApplyBalance = (
  tx: TenantTransaction,
  invoices: readonly InvoiceToPay[],
  creditOf: ReadonlyMap<string, bigint>,
  leastDue: LeastDue,
  atMs: number,
) => Promise<ReadonlyMap<string, Applied>>
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
 *   run held, if it is not cancelled → pending items locked → subscriptions locked where commitments are drawn, or fees
 *   billed in advance → those of progressive invoices locked and revised → places of void invoices taken → subscriptions
 *   moved on → lines → discounts → items marked → billed usage, progress, fees, commitments drawn → credit drawn → balance
 *   applied, small amounts carried forward → texts → history, outbox → suppressed invoices → parts, gathered at the end of the run →
 *   invoices with numbers, last → commit → log, metric
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
  // The id first: behind the spread it would make of each a shape of its own, slow to read (decision 0053).
  const wanted = chunk.invoices.map((invoice): NewInvoice => ({ id: deps.newId(), ...invoice }))
  const issued = await deps.transact(tenantId, async (tx) => {
    await holdRun(tx, run.id)
    const atMs = deps.now()
    await park(tx, deps, run, chunk.parked, atMs)
    const invoices = await claim(tx, wanted)
    const shown = invoices.length > 0 ? await store(tx, deps, run, invoices, atMs) : []
    return { count: invoices.length, shown }
  })
  for (const invoice of issued.shown) announceIssued(deps.announce, invoice)
  return issued.count === wanted.length
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

/** It waits for the end of its run, to become one invoice with what else that issues to its payer. */
function isPart({ subscription: { payer } }: NewInvoice): boolean {
  return payer?.consolidates === true
}

/** Answers those that have a number: not what is to be a part, or of nothing where such invoices are not wanted. */
async function store(
  tx: TenantTransaction,
  means: IssueDeps,
  run: BillingRun,
  invoices: readonly NewInvoice[],
  atMs: number,
): Promise<readonly NewInvoice[]> {
  await insertLines(tx, invoices)
  await insertInvoiceDiscounts(tx, invoices)
  const places = itemPlaces(invoices)
  if (places.length > 0) await markInvoiced(tx, places)
  await insertBilledUsage(tx, run.sealId, invoices)
  await insertProgressive(tx, invoices)
  await insertBilledFees(tx, invoices)
  await insertDraws(
    tx,
    invoices.flatMap((invoice) => drawsOf(run, invoice)),
  )
  const { settings, hasTexts } = await findInvoiceSettings(tx)
  const suppresses = settings.zeroInvoices === 'suppress'
  const suppressed = suppresses ? invoices.filter(billsNothing) : []
  const shown = suppresses ? invoices.filter((invoice) => !billsNothing(invoice)) : invoices
  const parts = shown.filter(isPart)
  const issued = parts.length === 0 ? shown : shown.filter((invoice) => !isPart(invoice))
  const owing = issued.map(toPay)
  const credit = await means.drawCredit(tx, owing, atMs)
  const applied = await means.applyBalance(tx, owing, credit, leastDueMinor(settings), atMs)
  if (hasTexts) await keepTexts(tx, issued)
  const timeText = timeTexts()
  const events = issued.map((invoice) => {
    const paid = { creditMinor: credit.get(invoice.id) ?? 0n, ...(applied.get(invoice.id) ?? NOTHING_APPLIED) }
    return issuedEvent(means, run, invoice, paid, timeText)
  })
  events.push(...suppressed.map((invoice) => suppressedEvent(means, run, invoice, timeText)))
  for (const invoice of invoices) {
    if (invoice.next === null && !movesNothing(invoice)) events.push(endedEvent(means, run, invoice))
  }
  await insertBillingEvents(tx, events, atMs)
  if (suppressed.length > 0) await insertSuppressed(tx, run.id, suppressed, atMs)
  if (parts.length > 0) await insertParts(tx, run.id, parts, atMs)
  if (issued.length > 0) await insertNumbered(tx, run.id, issued, credit, applied, atMs)
  return issued
}

function drawsOf({ knownBeforeMs }: BillingRun, { id: invoiceId, subscription, draft }: NewInvoice): NewDraw[] {
  const { id: subscriptionId, revision } = subscription
  const of = { subscriptionId, revision, knownBeforeMs, invoiceId, adjustmentId: null }
  return draft.lines.flatMap(({ draw }) => (draw === undefined ? [] : [{ ...draw, ...of }]))
}

function toPay({ id, subscription, plan, draft }: NewInvoice): InvoiceToPay {
  const { id: subscriptionId } = subscription
  const customerId = payerIdOf(subscription)
  const { legalEntityId, totalMinor, lines } = draft
  return { id, customerId, subscriptionId, legalEntityId, currency: plan.currency, totalMinor, lines }
}

function issuedEvent(
  means: Means,
  run: BillingRun,
  invoice: NewInvoice,
  { creditMinor, balanceMinor, carriedInMinor, carriedOutMinor }: Applied & { creditMinor: bigint },
  timeText: (ms: number) => string,
): NewBillingEvent {
  const { id, subscription, period, plan, draft, replaces } = invoice
  const dueMinor = draft.totalMinor - creditMinor - balanceMinor + carriedInMinor - carriedOutMinor
  return {
    id: means.newId(),
    event: 'invoice.finalised',
    customerId: payerIdOf(subscription),
    subscriptionId: subscription.id,
    invoiceId: id,
    billingRunId: run.id,
    data: {
      total: formatMoney(draft.totalMinor, plan.currency),
      credit: formatMoney(creditMinor, plan.currency),
      balance: formatMoney(balanceMinor, plan.currency),
      ...(carriedInMinor > 0n ? { carried_in: formatMoney(carriedInMinor, plan.currency) } : {}),
      ...(carriedOutMinor > 0n ? { carried_out: formatMoney(carriedOutMinor, plan.currency) } : {}),
      amount_due: formatMoney(dueMinor, plan.currency),
      currency: plan.currency,
      period_start: timeText(period.startMs),
      period_end: timeText(period.endMs),
      seal_id: run.sealId,
      ...onBehalfOf(subscription),
      ...(replaces === undefined || invoice.offCycle ? {} : { replaces }),
      ...(invoice.progressive ? { progressive: true } : {}),
    },
  }
}

/** Whose subscription it is, where somebody else pays. */
function onBehalfOf({ customerId, customerKey, payer }: ToRate): { on_behalf_of?: string } {
  return payer == null || payer.id === customerId ? {} : { on_behalf_of: customerKey }
}

/** Nobody is told but who asks for the history. */
function suppressedEvent(
  means: Means,
  run: BillingRun,
  { id, subscription, period }: NewInvoice,
  timeText: (ms: number) => string,
): NewBillingEvent {
  return {
    id: means.newId(),
    event: 'invoice.suppressed',
    customerId: payerIdOf(subscription),
    subscriptionId: subscription.id,
    invoiceId: id,
    billingRunId: run.id,
    data: { period_start: timeText(period.startMs), period_end: timeText(period.endMs), seal_id: run.sealId },
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
  const meters: string[] = []
  for (const { meter } of draft.lines) if (meter !== null && !meters.includes(meter)) meters.push(meter)
  announce({
    event: 'invoice_finalised',
    userId: subscription.payer?.key ?? subscription.customerKey,
    usageType: meters.length === 0 ? 'subscription' : meters.join(','),
    amount: formatMoney(draft.totalMinor, plan.currency),
    currency: plan.currency,
    invoiceId: id,
  })
}
