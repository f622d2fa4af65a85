import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { askAgain } from '../../billing/again/again.postgres.ts'
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
import { type BillingEventName, insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { giveBackTaken } from './give-back-taken.ts'
import { readAttempts } from './voids.postgres.ts'

export type ChangeInvoice = AskedChange & { invoiceId: string; idempotencyKey: string }

/**
 * Voids an invoice, has its period billed again by the next run, or writes it off; once per idempotency key: the same
 * request again changes nothing. Void is what never was: its number stays, and what it took goes back.
 * Order of effects, all in the caller's transaction: subscription and invoice locked → usage and items free again →
 * invoice void → credit, balance and carried amounts given back → period to be billed again → change kept → history,
 * outbox. A crash before the commit leaves all as it was. Whoever issues, pays or credits at the same time waits for the
 * lock, and finds the invoice void; or is found by this, which is then refused.
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
  const nextState = invoiceStateAfter(invoice.state, change)
  if (change === 'reissue' && invoice.offCycle) {
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
    await refuseWhatIsSettled(tx, invoice)
    if (change === 'void') await refuseWhatIsCountedOn(tx, invoice)
    await markVoid(tx, invoice.id, atMs)
    await giveBackTaken(tx, means, invoice, atMs)
  }
  if (change === 'reissue') await billAgain(tx, invoice, atMs)
  await insertInvoiceChange(tx, invoice.id, { change, reason, idempotencyKey }, atMs)
  await insertBillingEvents(tx, eventsOf(invoice, nextState, input, means), atMs)
  return readInvoice(tx, invoice.id)
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
async function refuseWhatIsSettled(tx: TenantTransaction, invoice: LockedInvoice): Promise<void> {
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
  if (await areFeesSettled(tx, invoice.id)) {
    throw refused('Fees that it billed in advance were settled since: give them back by a credit note.')
  }
  if (await hasAdjustments(tx, invoice.id)) {
    throw refused('Usage of its period came late and was settled since: give it back by a credit note.')
  }
}

/** An invoice in its place would bill these fees; void alone, nobody would. */
async function refuseWhatIsCountedOn(tx: TenantTransaction, { id, offCycle }: LockedInvoice): Promise<void> {
  if (!(await areFeesCountedOn(tx, id))) return
  const instead = offCycle ? 'give them back by a credit note' : 'reissue it, or give them back by a credit note'
  throw refused(`Fees that it billed in advance are of a period that was billed since: ${instead}.`)
}

async function billAgain(tx: TenantTransaction, invoice: LockedInvoice, atMs: number): Promise<void> {
  const { id: voidInvoiceId, subscriptionId, periodStartMs: startMs, periodEndMs: endMs } = invoice
  const isAsked = await askAgain(tx, { voidInvoiceId, subscriptionId, period: { startMs, endMs } }, atMs)
  if (!isAsked) throw refused('Its period is to be billed again, or was already.')
}

function refused(message: string): Problem {
  return new Problem('illegal_state', message)
}
