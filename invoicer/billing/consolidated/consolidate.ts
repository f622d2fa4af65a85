import type { TenantId } from '../../../schemas/http/door.ts'
import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { findInvoiceSettings } from '../../agreements/invoice-settings/invoice-settings.postgres.ts'
import { leastDueMinor } from '../../agreements/invoice-settings/settings.ts'
import { insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import { keepTextsOf } from '../invoices/issued-texts.postgres.ts'
import { type Applied, NOTHING_APPLIED } from '../invoices/rated-invoice.ts'
import type { BillingRun } from '../run/billing-run.ts'
import { type InvoiceToPay, type IssueDeps, isDataError, type LineToPay, park } from '../run/issue-chunk.ts'
import { holdRun } from '../run/runs.postgres.ts'
import {
  type ConsolidatedInvoice,
  insertConsolidated,
  listLinesToPay,
  listWaitingGroups,
  lockWaitingParts,
  markGathered,
  type PartsWanted,
  type WaitingPart,
} from './gather.postgres.ts'

export type ConsolidateDeps = IssueDeps & {
  chunkSize: number
  stopping: () => boolean
  /** What one invoice gathers at most, held in memory at once; what is more goes on another. By default 5,000. */
  partsPerInvoice?: number
}

const MOST_PARTS = 5_000

/**
 * Gathers the parts that a run issued into one numbered invoice for each payer, currency and legal entity; so does it those
 * that an ended run left. Behind all that it issues: no part of one invoice is issued later. Where nobody consolidates it
 * reads an empty index. Order of effects, in one transaction for some payers:
 *   run held, if it is not cancelled → parts locked → credit drawn → balance applied, small amounts carried forward → texts
 *   → history, outbox → parts marked → invoices with numbers, last → commit → log, metric
 * A crash before the commit leaves parts that wait, and whoever continues the run gathers them; two runners meet at the
 * locks, and the second finds nothing that waits. False when the process is to stop first.
 */
export async function consolidate(deps: ConsolidateDeps, tenantId: TenantId, run: BillingRun): Promise<boolean> {
  const groups = await deps.transact(tenantId, (tx) => listWaitingGroups(tx, run.id))
  const most = deps.partsPerInvoice ?? MOST_PARTS
  const invoices = groups.flatMap(({ parts, ...group }) => {
    const full = Array.from({ length: Math.ceil(parts / most) - 1 }, () => ({ ...group, parts: most }))
    return [...full, { ...group, parts: parts - most * full.length }]
  })
  for (const some of together(invoices, Math.min(deps.chunkSize, most))) {
    if (deps.stopping()) return false
    await gatherOrLeave(deps, tenantId, run, { groups: some, partIds: null, most })
  }
  return true
}

/** Groups of about so many parts; one alone may have more. */
function together<G extends { parts: number }>(groups: readonly G[], most: number): G[][] {
  const all: G[][] = []
  let parts = most
  for (const group of groups) {
    if (parts + group.parts > most) {
      all.push([])
      parts = 0
    }
    all.at(-1)?.push(group)
    parts += group.parts
  }
  return all
}

/**
 * What the database refuses because of its content would be refused each time: then each payer has a transaction of its own,
 * and the parts of the one at fault are gathered by halves, on an invoice each. A part that is at fault by itself waits for
 * the next run, which tries again, and its subscription is parked with a reason.
 */
async function gatherOrLeave(
  deps: ConsolidateDeps,
  tenantId: TenantId,
  run: BillingRun,
  wanted: PartsWanted,
): Promise<void> {
  try {
    await gather(deps, tenantId, run, wanted)
  } catch (error) {
    if (!(error instanceof Error) || !isDataError(error)) throw error
    if (wanted.groups.length > 1) {
      for (const group of wanted.groups) await gatherOrLeave(deps, tenantId, run, { ...wanted, groups: [group] })
      return
    }
    const parts = await deps.transact(tenantId, (tx) => lockWaitingParts(tx, run.id, wanted))
    if (parts.length <= 1) return leave(deps, tenantId, run, wanted, error.message)
    const ids = parts.map(({ invoiceId }) => invoiceId)
    const half = Math.ceil(ids.length / 2)
    for (const partIds of [ids.slice(0, half), ids.slice(half)]) {
      await gatherOrLeave(deps, tenantId, run, { ...wanted, partIds })
    }
  }
}

async function leave(
  deps: ConsolidateDeps,
  tenantId: TenantId,
  run: BillingRun,
  wanted: PartsWanted,
  why: string,
): Promise<void> {
  await deps.transact(tenantId, async (tx) => {
    await holdRun(tx, run.id)
    const parts = await lockWaitingParts(tx, run.id, wanted)
    const parked = parts.map(({ subscriptionId, payerId, periodStartMs }) => {
      const subscription = { id: subscriptionId, customerId: payerId }
      const reason = `The invoice of what was billed of it cannot be stored: ${why}.`
      return { subscription, periodStartMs, reason }
    })
    await park(tx, deps, run, parked, deps.now())
  })
}

async function gather(deps: ConsolidateDeps, tenantId: TenantId, run: BillingRun, wanted: PartsWanted): Promise<void> {
  const issued = await deps.transact(tenantId, async (tx) => {
    await holdRun(tx, run.id)
    const parts = await lockWaitingParts(tx, run.id, wanted)
    if (parts.length === 0) return []
    const linesOf = await listLinesToPay(
      tx,
      parts.map(({ invoiceId }) => invoiceId),
    )
    const invoices = byGroup(parts).map((own) => consolidated(deps.newId(), own, linesOf))
    await store(tx, deps, run, invoices, deps.now())
    return invoices
  })
  for (const invoice of issued) announceIssued(deps, invoice)
}

/** Those of one payer, currency and legal entity together, in their order. */
function byGroup(parts: readonly WaitingPart[]): [WaitingPart, ...WaitingPart[]][] {
  const groups = new Map<string, [WaitingPart, ...WaitingPart[]]>()
  for (const part of parts) {
    const key = `${part.payerId} ${part.currency} ${part.legalEntityId}`
    const group = groups.get(key)
    if (group) group.push(part)
    else groups.set(key, [part])
  }
  return [...groups.values()]
}

/** One invoice over parts: its sums are theirs, its lines one behind the other. */
export function consolidated(
  id: string,
  parts: readonly [WaitingPart, ...WaitingPart[]],
  linesOf: ReadonlyMap<string, readonly LineToPay[]>,
): ConsolidatedInvoice {
  const [{ payerId, payerKey, currency, legalEntityId }] = parts
  const lines: LineToPay[] = []
  for (const { invoiceId } of parts) {
    const first = lines.length
    for (const line of linesOf.get(invoiceId) ?? []) {
      const { discount } = line
      lines.push(discount ? { ...line, discount: { ...discount, lowers: first + discount.lowers } } : line)
    }
  }
  const sumOf = (minorOf: (part: WaitingPart) => bigint) => parts.reduce((sum, part) => sum + minorOf(part), 0n)
  return {
    ...{ id, payerId, payerKey, currency, legalEntityId, parts, lines },
    periodStartMs: Math.min(...parts.map(({ periodStartMs }) => periodStartMs)),
    periodEndMs: Math.max(...parts.map(({ periodEndMs }) => periodEndMs)),
    subtotalMinor: sumOf(({ subtotalMinor }) => subtotalMinor),
    taxMinor: sumOf(({ taxMinor }) => taxMinor),
    totalMinor: sumOf(({ totalMinor }) => totalMinor),
  }
}

async function store(
  tx: TenantTransaction,
  deps: ConsolidateDeps,
  run: BillingRun,
  invoices: readonly ConsolidatedInvoice[],
  atMs: number,
): Promise<void> {
  const { settings, hasTexts } = await findInvoiceSettings(tx)
  const owing = invoices.map(toPay)
  const credit = await deps.drawCredit(tx, owing, atMs)
  const applied = await deps.applyBalance(tx, owing, credit, leastDueMinor(settings), atMs)
  if (hasTexts) await keepTextsOf(tx, invoices.map(withOwners))
  const paidOf = ({ id }: ConsolidatedInvoice) => {
    return { ...(applied.get(id) ?? NOTHING_APPLIED), creditMinor: credit.get(id) ?? 0n }
  }
  await insertBillingEvents(
    tx,
    invoices.map((invoice) => issuedEvent(deps, run, invoice, paidOf(invoice))),
    atMs,
  )
  await markGathered(tx, invoices)
  const issued = invoices.map((invoice) => ({ invoice, paid: paidOf(invoice) }))
  await insertConsolidated(tx, run.id, issued, atMs)
}

function toPay({
  id,
  payerId: customerId,
  legalEntityId,
  currency,
  totalMinor,
  lines,
}: ConsolidatedInvoice): InvoiceToPay {
  return { id, customerId, subscriptionId: null, legalEntityId, currency, totalMinor, lines }
}

function withOwners({ id, legalEntityId, payerId }: ConsolidatedInvoice): { id: string; owners: (string | null)[] } {
  return { id, owners: [null, ...(legalEntityId === null ? [] : [legalEntityId]), payerId] }
}

function issuedEvent(
  deps: ConsolidateDeps,
  run: BillingRun,
  invoice: ConsolidatedInvoice,
  { creditMinor, balanceMinor, carriedInMinor, carriedOutMinor }: Applied & { creditMinor: bigint },
): NewBillingEvent {
  const { id: invoiceId, payerId: customerId, currency, totalMinor, parts } = invoice
  const money = (minor: bigint) => formatMoney(minor, currency)
  return {
    ...{ id: deps.newId(), event: 'invoice.finalised', customerId, invoiceId, billingRunId: run.id },
    data: {
      total: money(totalMinor),
      credit: money(creditMinor),
      balance: money(balanceMinor),
      ...(carriedInMinor > 0n ? { carried_in: money(carriedInMinor) } : {}),
      ...(carriedOutMinor > 0n ? { carried_out: money(carriedOutMinor) } : {}),
      amount_due: money(totalMinor - creditMinor - balanceMinor + carriedInMinor - carriedOutMinor),
      currency,
      period_start: new Date(invoice.periodStartMs).toISOString(),
      period_end: new Date(invoice.periodEndMs).toISOString(),
      seal_id: run.sealId,
      parts: parts.length,
      subscriptions: new Set(parts.map(({ subscriptionId }) => subscriptionId)).size,
    },
  }
}

function announceIssued({ announce }: ConsolidateDeps, invoice: ConsolidatedInvoice): void {
  const { id: invoiceId, payerKey: userId, currency, totalMinor, lines } = invoice
  const meters = new Set(lines.flatMap(({ meter }) => meter ?? []))
  announce({
    event: 'invoice_finalised',
    userId,
    usageType: meters.size === 0 ? 'subscription' : [...meters].join(','),
    amount: formatMoney(totalMinor, currency),
    currency,
    invoiceId,
  })
}
