import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { reviseSubscription } from '../../agreements/subscriptions/revise-subscription.ts'
import { askAgain } from '../../billing/again/again.postgres.ts'
import { areDrawsCountedOn, insertVoidDraws } from '../../billing/commitments/draws.postgres.ts'
import { listParts } from '../../billing/consolidated/parts.postgres.ts'
import { areFeesCountedOn, areFeesSettled } from '../../billing/fees/fees.postgres.ts'
import {
  type AskedChange,
  findInvoiceChange,
  hasAdjustments,
  insertInvoiceChange,
  type LockedInvoice,
  lockInvoice,
  markUncollectible,
  markVoid,
} from '../../billing/invoices/changes.postgres.ts'
import type { Invoice } from '../../billing/invoices/invoice.ts'
import { type InvoiceState, invoiceStateAfter } from '../../billing/invoices/lifecycle.ts'
import { readInvoice } from '../../billing/invoices/read-invoice.ts'
import {
  isProgressCountedOn,
  isProgressSplit,
  progressiveSubscription,
} from '../../billing/progressive/progress.postgres.ts'
import { type BillingEventName, insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { giveBackTaken } from './give-back-taken.ts'
import { readAttempts } from './voids.postgres.ts'

export type ChangeInvoice = AskedChange & { invoiceId: string; idempotencyKey: string }

/**
 * Voids an invoice, has its period billed again by the next run, or writes it off; once per idempotency key: the same
 * request again changes nothing. Void is what never was: its number stays, and what it took goes back.
 * Order of effects, all in the caller's transaction: subscription and invoice locked → usage and items free again →
 * invoice void, and what it drew of commitments → credit, balance and carried amounts given back → period to be billed
 * again → change kept → history, outbox. A crash before the commit leaves all as it was. Whoever issues, pays or credits at
 * the same time waits for the lock, and finds the invoice void; or is found by this, which is then refused.
 * @throws Problem not_found; conflict for another request under the same key; illegal_state for what the table of states
 * does not allow, and for what has moved money since, with what to do instead.
 */
export async function changeInvoice(tx: TenantTransaction, input: ChangeInvoice, means: Means): Promise<Invoice> {
  const { change, reason, idempotencyKey } = input
  const invoice = await lockInvoice(tx, input.invoiceId)
  if (invoice === undefined) throw new Problem('not_found', 'There is no invoice with this id.')
  const stored = await findInvoiceChange(tx, invoice.id, idempotencyKey)
  if (stored !== undefined) {
    if (stored.change === change && stored.reason === reason) return readInvoice(tx, invoice.id)
    throw new Problem('conflict', 'This idempotency key stands for another change of the invoice.')
  }
  refuseParts(invoice)
  const nextState = invoiceStateAfter(invoice.state, change)
  const pieces = await piecesOf(tx, invoice)
  if (change === 'reissue' && pieces.every(({ offCycle }) => offCycle)) {
    throw refused('It bills no period of its own: void it, and what was on it goes with the next invoice.')
  }
  const atMs = means.now()
  if (nextState === 'uncollectible') {
    if (invoice.amountDueMinor - invoice.settledMinor === 0n) {
      throw refused('Nothing of it is due: there is nothing to write off.')
    }
    await refuseWhatIsPaid(tx, invoice)
    await markUncollectible(tx, invoice.id)
  }
  if (nextState === 'void' && invoice.state !== 'void') {
    await refuseWhatIsPaid(tx, invoice)
    refuseWhatIsSettled(invoice)
    await refuseWhatProgressHangsOn(tx, pieces)
    if (change === 'void') await refuseWhatDrawsHangOn(tx, pieces)
    for (const piece of pieces) {
      await refuseWhatIsBilledBehind(tx, piece)
      if (change === 'void' || piece.offCycle) await refuseWhatIsCountedOn(tx, piece)
    }
    const ids = new Set([invoice.id, ...pieces.map(({ id }) => id)])
    await markVoid(tx, [...ids], atMs)
    for (const { id } of pieces) {
      await insertVoidDraws(tx, id)
      // Whoever counted on it without having stored that yet rates again.
      const progressive = await progressiveSubscription(tx, id)
      if (progressive !== undefined) await reviseSubscription(tx, progressive)
    }
    await giveBackTaken(tx, means, invoice, atMs)
  }
  if (change === 'reissue') {
    // What stands beside the periods comes by itself: items wait again, fees and progress count as not billed.
    for (const piece of pieces) if (!piece.offCycle) await billAgain(tx, piece, atMs)
  }
  await insertInvoiceChange(tx, invoice.id, { change, reason, idempotencyKey }, atMs)
  await insertBillingEvents(tx, eventsOf(invoice, nextState, input, means), atMs)
  return readInvoice(tx, invoice.id)
}

/** What bills subscriptions: the invoice itself, or each of its parts, which are void with it. */
type Piece = Pick<LockedInvoice, 'id' | 'subscriptionId' | 'offCycle' | 'periodStartMs' | 'periodEndMs'>

async function piecesOf(tx: TenantTransaction, invoice: LockedInvoice): Promise<Piece[]> {
  if (invoice.subscriptionId !== null) return [invoice]
  const parts = (await listParts(tx, [invoice.id])).get(invoice.id) ?? []
  return parts.length === 0 ? [invoice] : parts.map(({ invoiceId: id, ...part }) => ({ id, ...part }))
}

function refuseParts({ state, partOf }: LockedInvoice): void {
  if (partOf !== null) throw refused(`It is a part of invoice ${partOf}: change that one, or credit lines of it there.`)
  if (state === 'part')
    throw refused('It becomes a part of an invoice when its run is completed: change that one then.')
}

function eventsOf(
  { id: invoiceId, state, customerId, subscriptionId }: LockedInvoice,
  nextState: InvoiceState,
  { change, reason }: AskedChange,
  means: Means,
): NewBillingEvent[] {
  const names: BillingEventName[] = []
  if (nextState === 'uncollectible') names.push('invoice.uncollectible')
  if (nextState === 'void' && state !== 'void') names.push('invoice.voided')
  if (change === 'reissue') names.push('invoice.reissue_requested')
  const data = { reason, was: state }
  // Nobody was told of an invoice that was suppressed.
  const isTold = state !== 'suppressed'
  return names.map((event) => ({ id: means.newId(), event, customerId, subscriptionId, invoiceId, data, isTold }))
}

/** Behind the locks of the invoice and its subscription. */
async function refuseWhatIsPaid(tx: TenantTransaction, { id }: LockedInvoice): Promise<void> {
  const { isBeingPaid, wasPaid } = await readAttempts(tx, id)
  if (wasPaid) throw refused('It was paid: give it back by a credit note.')
  if (isBeingPaid) throw refused('A payment of it may still succeed: try again when the gateway has answered.')
}

/** What others were given or billed because of the invoice cannot be undone with it. */
function refuseWhatIsSettled(invoice: LockedInvoice): void {
  if (invoice.creditedMinor > 0n) throw refused('There are credit notes on it: give back the rest by another one.')
  if (invoice.totalMinor < 0n)
    throw refused('It gave to the balance, which may be spent: bill that by a one-time item.')
  if (invoice.carriedOutMinor > 0n) {
    throw refused(
      invoice.totalMinor > 0n
        ? 'Its amount was carried forward to the next invoice: give it back by a credit note.'
        : 'It bills nothing and carries forward what earlier invoices did: give that back by credit notes on them.',
    )
  }
}

/** All pieces at once: of those that are void together none has less because of another. */
async function refuseWhatProgressHangsOn(tx: TenantTransaction, pieces: readonly Piece[]): Promise<void> {
  const ids = pieces.map(({ id }) => id)
  if (await isProgressCountedOn(tx, ids)) {
    throw refused(
      'A later invoice of its period is less by what it billed: void that first, or give it back by a credit note.',
    )
  }
  if (await isProgressSplit(tx, ids)) {
    throw refused(
      'What was billed of its period before is taken off by two legal entities at once: give it back by a credit note.',
    )
  }
}

/** Nor what others were billed because of what it billed itself, or a part of it did. */
async function refuseWhatIsBilledBehind(tx: TenantTransaction, { id }: Piece): Promise<void> {
  if (await areFeesSettled(tx, id)) {
    throw refused('Fees that it billed in advance were settled since: give them back by a credit note.')
  }
  if (await hasAdjustments(tx, id)) {
    throw refused('Usage of its period came late and was settled since: give it back by a credit note.')
  }
}

/** An invoice in its place draws on the commitment as it did; void alone, what others drew would cost something else. */
async function refuseWhatDrawsHangOn(tx: TenantTransaction, pieces: readonly Piece[]): Promise<void> {
  const ids = pieces.map(({ id }) => id)
  if (await areDrawsCountedOn(tx, ids)) {
    throw refused('Other periods drew on its commitment behind it: reissue it, or give it back by a credit note.')
  }
}

/** An invoice in its place would bill these fees; void alone, nobody would. */
async function refuseWhatIsCountedOn(tx: TenantTransaction, { id, offCycle }: Piece): Promise<void> {
  if (!(await areFeesCountedOn(tx, id))) return
  const instead = offCycle ? 'give them back by a credit note' : 'reissue it, or give them back by a credit note'
  throw refused(`Fees that it billed in advance are of a period that was billed since: ${instead}.`)
}

async function billAgain(tx: TenantTransaction, piece: Piece, atMs: number): Promise<void> {
  const { id: voidInvoiceId, subscriptionId, periodStartMs: startMs, periodEndMs: endMs } = piece
  if (subscriptionId === null) throw refused('It belongs to no subscription, which could be billed again.')
  const isAsked = await askAgain(tx, { voidInvoiceId, subscriptionId, period: { startMs, endMs } }, atMs)
  if (!isAsked) throw refused('Its period is to be billed again, or was already.')
}

function refused(message: string): Problem {
  return new Problem('illegal_state', message)
}
