import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Announce } from '../../outbox/announce.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import { insertOutbox } from '../../outbox/outbox.postgres.ts'
import type { Means, Transact } from '../../transaction.ts'
import {
  type Advance,
  advanceSubscriptions,
  insertBilledUsage,
  insertDrafts,
  insertLines,
  insertParked,
  numberInvoices,
} from '../invoices/issue.postgres.ts'
import type { NewInvoice } from '../invoices/rated-invoice.ts'
import type { BillingRun } from './billing-run.ts'
import type { Parked, RatedChunk } from './rate-chunk.ts'

export type IssueDeps = Means & { transact: Transact; announce: Announce }
type Issuable = Pick<RatedChunk, 'invoices' | 'parked'>

/** SQLSTATE: class 22 says that a value is at fault (out of range, overflow), 23514 that it breaks a CHECK. */
const DATA_ERROR = /^(22...|23514)$/

/**
 * Stores a rated chunk in one transaction and answers how many invoices are new. Order of effects:
 *   drafts → lines → billed usage → subscriptions moved on → outbox, history → numbers, last → commit → log, metric
 * A crash before the commit leaves nothing, numbers included; one after it leaves the whole chunk, and what a repeated
 * chunk then brings is known already: its drafts conflict, so nothing of it is stored. Between commit and log a crash
 * loses log lines and counts of the metric, never money.
 *
 * What the database refuses because of its content would be refused each time, and nobody of the chunk would be billed
 * again: then each subscription gets a transaction of its own, and the one at fault is parked.
 */
export async function issueChunk(
  deps: IssueDeps,
  tenantId: TenantId,
  run: BillingRun,
  chunk: Issuable,
): Promise<number> {
  try {
    return await issueTogether(deps, tenantId, run, chunk)
  } catch (error) {
    if (!isDataError(error)) throw error
    return issueOneByOne(deps, tenantId, run, chunk)
  }
}

async function issueTogether(deps: IssueDeps, tenantId: TenantId, run: BillingRun, chunk: Issuable): Promise<number> {
  if (chunk.invoices.length === 0 && chunk.parked.length === 0) return 0
  const wanted = chunk.invoices.map((invoice) => ({ ...invoice, id: deps.newId() }))
  const issued = await deps.transact(tenantId, async (tx) => {
    const atMs = deps.now()
    if (chunk.parked.length > 0) await park(tx, deps, run, chunk.parked, atMs)
    const fresh = wanted.length === 0 ? new Set<string>() : await insertDrafts(tx, run.id, wanted)
    const invoices = wanted.filter((invoice) => fresh.has(invoice.id))
    if (invoices.length > 0) await store(tx, deps, run, invoices, atMs)
    return invoices
  })
  for (const invoice of issued) announceIssued(deps.announce, invoice)
  return issued.length
}

async function issueOneByOne(deps: IssueDeps, tenantId: TenantId, run: BillingRun, chunk: Issuable): Promise<number> {
  let issued = 0
  for (const part of bySubscription(chunk)) issued += await issueOrPark(deps, tenantId, run, part)
  return issued
}

/** In the order of the chunk. */
function bySubscription({ invoices, parked }: Issuable): Issuable[] {
  const ids = new Set([...invoices, ...parked].map(({ subscription }) => subscription.id))
  return [...ids].map((id) => ({
    invoices: invoices.filter(({ subscription }) => subscription.id === id),
    parked: parked.filter(({ subscription }) => subscription.id === id),
  }))
}

async function issueOrPark(deps: IssueDeps, tenantId: TenantId, run: BillingRun, part: Issuable): Promise<number> {
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

function isDataError(error: unknown): boolean {
  if (error instanceof Problem) return error.code === 'calculation_failed'
  return DATA_ERROR.test(String((error as { code?: unknown } | undefined)?.code))
}

async function store(
  tx: TenantTransaction,
  means: Means,
  run: BillingRun,
  invoices: readonly NewInvoice[],
  atMs: number,
): Promise<void> {
  await insertLines(tx, invoices)
  await insertBilledUsage(tx, run.sealId, invoices)
  const advances = advancesOf(invoices)
  if ((await advanceSubscriptions(tx, advances)) !== advances.length) {
    throw new Problem('calculation_failed', 'A subscription was billed up to another period than its invoices say.')
  }
  await tellIssued(tx, means, run, invoices, atMs)
  const numbered = await numberInvoices(
    tx,
    invoices.map((invoice) => invoice.id),
    atMs,
  )
  if (numbered !== invoices.length) throw new Problem('internal', 'Not every invoice got its number.')
}

/** The invoices of a subscription stand together, in order. */
function advancesOf(invoices: readonly NewInvoice[]): Advance[] {
  const advances = new Map<string, Advance>()
  for (const { subscription, period, next } of invoices) {
    const fromMs = advances.get(subscription.id)?.fromMs ?? period.startMs
    advances.set(subscription.id, { subscriptionId: subscription.id, fromMs, next })
  }
  return [...advances.values()]
}

async function tellIssued(
  tx: TenantTransaction,
  means: Means,
  run: BillingRun,
  invoices: readonly NewInvoice[],
  atMs: number,
): Promise<void> {
  const told = invoices.map((invoice) => {
    const { id, subscription, period, plan, draft } = invoice
    const ids = { customerId: subscription.customerId, subscriptionId: subscription.id, invoiceId: id }
    const data = {
      total: formatMoney(draft.totalMinor, plan.currency),
      currency: plan.currency,
      period_start: new Date(period.startMs).toISOString(),
      period_end: new Date(period.endMs).toISOString(),
      seal_id: run.sealId,
    }
    return { ids, data }
  })
  await insertOutbox(
    tx,
    told.map(({ ids, data }) => ({
      id: means.newId(),
      topic: 'invoice.finalised',
      payload: {
        invoice_id: ids.invoiceId,
        customer_id: ids.customerId,
        subscription_id: ids.subscriptionId,
        ...data,
      },
    })),
    atMs,
  )
  await insertBillingEvents(
    tx,
    told.map(({ ids, data }) => ({
      id: means.newId(),
      event: 'invoice.finalised',
      billingRunId: run.id,
      ...ids,
      data,
    })),
    atMs,
  )
}

async function park(
  tx: TenantTransaction,
  means: Means,
  run: BillingRun,
  parked: readonly Parked[],
  atMs: number,
): Promise<void> {
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
