import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { listRevisions, reviseAsRated } from '../../agreements/subscriptions/revisions.postgres.ts'
import { claimAgain } from '../again/again.postgres.ts'
import { countDraws } from '../commitments/draws.postgres.ts'
import { listBilledSince, listVoid } from '../fees/fees.postgres.ts'
import { type Advance, claimSubscriptions, listOvertaken } from '../invoices/issue.postgres.ts'
import type { NewInvoice } from '../invoices/rated-invoice.ts'
import { lockPendingItems } from '../items/items.postgres.ts'
import { lockSubscriptions } from '../late/late.postgres.ts'
import type { Span } from '../unused.ts'

/**
 * Those of the invoices whose items still wait, and whose subscription stands where they start: the others are issued by
 * somebody else, or are to be rated again. An invoice of its own moves nothing on; its items alone are its claim. Nor does
 * one in the place of a void one: its claim is that place.
 */
export async function claim(tx: TenantTransaction, rated: readonly NewInvoice[]): Promise<NewInvoice[]> {
  const asDrawn = await withOwnDraws(tx, await withOwnItems(tx, rated))
  const wanted = await withOwnPlaces(tx, await withOwnProgress(tx, await withBilledFees(tx, asDrawn)))
  const advances = advancesOf(wanted.filter((invoice) => !movesNothing(invoice)))
  if (advances.length === 0) return wanted.filter(movesNothing)
  const claimed = await claimSubscriptions(tx, advances)
  const missed = advances.filter(({ subscriptionId }) => !claimed.has(subscriptionId))
  if (missed.length > 0 && (await listOvertaken(tx, missed)).size !== missed.length) {
    throw new Problem('calculation_failed', 'A subscription was billed up to another period than its invoices say.')
  }
  // What stands beside an invoice that is not claimed waits with it: it may have fees of the same period.
  const missing = new Set(missed.map(({ subscriptionId }) => subscriptionId))
  return wanted.filter(({ subscription }) => !missing.has(subscription.id))
}

/** Without those of subscriptions one of whose items was invoiced or deleted since. */
async function withOwnItems(tx: TenantTransaction, rated: readonly NewInvoice[]): Promise<readonly NewInvoice[]> {
  const itemIds = itemPlaces(rated).map(({ itemId }) => itemId)
  if (itemIds.length === 0) return rated
  const waiting = await lockPendingItems(tx, itemIds)
  const missed = rated.filter((invoice) => itemPlaces([invoice]).some(({ itemId }) => !waiting.has(itemId)))
  const subscriptions = new Set(missed.map(({ subscription }) => subscription.id))
  return rated.filter(({ subscription }) => !subscriptions.has(subscription.id))
}

/**
 * Without those of subscriptions that are no longer as their progressive invoice found them. Those that are count as changed
 * by it: whoever rated one before, for the invoice of its period or for the same progressive one, rates it again. Nor those
 * in the place of a void invoice that were rated less progressive ones which may be void by now: their place says nothing
 * of that. Before places are taken, as below.
 */
async function withOwnProgress(tx: TenantTransaction, wanted: readonly NewInvoice[]): Promise<readonly NewInvoice[]> {
  const inside = wanted.filter(({ progressive }) => progressive)
  const again = wanted.filter(({ replaces, subscription: { progress = [] } }) => replaces && progress.length > 0)
  if (inside.length + again.length === 0) return wanted
  const idOf = ({ subscription }: NewInvoice) => subscription.id
  await lockSubscriptions(tx, [...inside, ...again].map(idOf))
  const revisionOf = await listRevisions(tx, again.map(idOf))
  const rated = inside.map(({ subscription: { id, revision }, period }) => ({
    id,
    revision,
    nextStartMs: period.startMs,
  }))
  const revised = await reviseAsRated(tx, rated)
  const missed = new Set([
    ...again.filter(({ subscription: { id, revision } }) => revisionOf.get(id) !== revision).map(idOf),
    ...inside.map(idOf).filter((id) => !revised.has(id)),
  ])
  return missed.size === 0 ? wanted : wanted.filter((invoice) => !missed.has(idOf(invoice)))
}

/**
 * Without those of subscriptions that drew more of their commitments since, or less. First of all that lock subscriptions, and
 * for all of them, so that they are taken in one order; before places are taken, as below.
 */
async function withOwnDraws(tx: TenantTransaction, wanted: readonly NewInvoice[]): Promise<readonly NewInvoice[]> {
  const drawing = wanted.filter(({ draft }) => draft.lines.some(({ draw }) => draw !== undefined))
  if (drawing.length === 0) return wanted
  const ids = drawing.map(({ subscription }) => subscription.id)
  await lockSubscriptions(
    tx,
    wanted.map(({ subscription }) => subscription.id),
  )
  const countOf = await countDraws(tx, ids)
  const isAsRated = ({ id, draws = [] }: NewInvoice['subscription']) => (countOf.get(id) ?? 0) === draws.length
  const missed = new Set(drawing.flatMap(({ subscription }) => (isAsRated(subscription) ? [] : [subscription.id])))
  return missed.size === 0 ? wanted : wanted.filter(({ subscription }) => !missed.has(subscription.id))
}

/**
 * Without those of subscriptions some of whose fees were billed by an invoice that is void by now, or by one that was not
 * there when these were rated: they are to be rated again. Before places are taken, so that no place names an invoice that
 * is left out.
 */
async function withBilledFees(tx: TenantTransaction, wanted: readonly NewInvoice[]): Promise<readonly NewInvoice[]> {
  const known = wanted.flatMap(invoicesOfFees)
  const fees: { subscriptionId: string; fee: Span }[] = []
  for (const { subscription, draft } of wanted) {
    for (const { fee } of draft.lines) if (fee !== undefined) fees.push({ subscriptionId: subscription.id, fee })
  }
  if (known.length === 0 && fees.length === 0) return wanted
  // Whoever bills fees or voids an invoice holds its subscription: from here on nobody does. All of them, in one order.
  await lockSubscriptions(
    tx,
    wanted.map(({ subscription }) => subscription.id),
  )
  const voided = await listVoid(tx, known)
  const since = await listBilledSince(tx, fees, known)
  const isAsRated = ({ subscription: { id, billedFees = [] } }: NewInvoice) =>
    !since.has(id) && !billedFees.some(({ invoiceId }) => invoiceId !== undefined && voided.has(invoiceId))
  return wanted.filter(isAsRated)
}

function invoicesOfFees({ subscription: { billedFees = [] } }: NewInvoice): string[] {
  return billedFees.flatMap(({ invoiceId }) => invoiceId ?? [])
}

/** It bills no period that comes next. */
export function movesNothing({ offCycle, claimsFees, replaces }: NewInvoice): boolean {
  return (offCycle === true && claimsFees === undefined) || replaces !== undefined
}

/** Without those of subscriptions whose void invoice has a successor by now. */
async function withOwnPlaces(tx: TenantTransaction, wanted: readonly NewInvoice[]): Promise<readonly NewInvoice[]> {
  const places = wanted.flatMap(({ id: invoiceId, offCycle, replaces }) =>
    offCycle || replaces === undefined ? [] : [{ voidInvoiceId: replaces, invoiceId }],
  )
  if (places.length === 0) return wanted
  const claimed = await claimAgain(tx, places)
  const missed = wanted.filter(({ id, offCycle, replaces }) => !offCycle && replaces !== undefined && !claimed.has(id))
  const subscriptions = new Set(missed.map(({ subscription }) => subscription.id))
  return wanted.filter(({ subscription }) => !subscriptions.has(subscription.id))
}

/** Which lines are made from what waited for the invoices. */
export function itemPlaces(
  invoices: readonly NewInvoice[],
): { itemId: string; invoiceId: string; lineIndex: number }[] {
  const places: { itemId: string; invoiceId: string; lineIndex: number }[] = []
  for (const { id: invoiceId, draft } of invoices) {
    for (const [lineIndex, { itemId }] of draft.lines.entries()) {
      if (itemId !== undefined) places.push({ itemId, invoiceId, lineIndex })
    }
  }
  return places
}

/** The invoices of a subscription stand together, in order. */
function advancesOf(invoices: readonly NewInvoice[]): Advance[] {
  const advances = new Map<string, Advance>()
  for (const { subscription, period, next, feesDueMs = null } of invoices) {
    const { id: subscriptionId, revision, feesDueMs: fromFeesMs = null } = subscription
    const fromMs = advances.get(subscriptionId)?.fromMs ?? period.startMs
    advances.set(subscriptionId, { subscriptionId, fromMs, revision, fromFeesMs, next, feesDueMs })
  }
  return [...advances.values()]
}
