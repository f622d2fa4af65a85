import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { BalanceChange } from '../balance/balance.ts'
import { giveToBalance } from '../balance/change-balance.ts'
import { markPaid } from '../payments/payments.postgres.ts'
import type { CreditableInvoice, CreditNote, CreditNoteLine } from './credit-note.ts'
import {
  ensureCreditNoteNumbers,
  insertNoteLines,
  insertNotes,
  type NewCreditNote,
  raiseCredited,
} from './credit-notes.postgres.ts'

/** A note that is to be made on a locked invoice. */
export type DraftNote = {
  /** Where something else names the note. */
  id?: string
  invoice: CreditableInvoice
  lines: readonly CreditNoteLine[]
  reason: string
  idempotencyKey: string
  request: object
}

/**
 * Makes notes on locked invoices, in the caller's transaction. A note lowers what is still due; what goes beyond that, or
 * comes while a payment of everything due is on its way, goes to the customer's balance. An invoice that has nothing due
 * any more counts as paid. Order of effects: lines of notes → invoices → balances, `more` with them → history → notes
 * with their numbers, last.
 */
export async function writeNotes(
  tx: TenantTransaction,
  means: Means,
  drafts: readonly DraftNote[],
  atMs: number,
  more: readonly BalanceChange[] = [],
): Promise<CreditNote[]> {
  const notes = settledNotes(drafts, means)
  if (notes.length > 0) {
    await ensureCreditNoteNumbers(
      tx,
      notes.map(({ legalEntityId }) => legalEntityId),
    )
    await insertNoteLines(tx, notes)
    await raiseCredited(tx, notes)
  }
  const toBalance = notes.flatMap((note): BalanceChange[] => {
    const { customerId, currency, balanceMinor: amountMinor, id: creditNoteId } = note
    return amountMinor === 0n ? [] : [{ customerId, currency, kind: 'credit_note', amountMinor, creditNoteId }]
  })
  const events = notes.map((note): NewBillingEvent => issuedEvent(means, note, drafts))
  const paid = await payWhatOwesNothing(tx, means, drafts, notes, atMs)
  await giveToBalance(tx, means, [...toBalance, ...more], atMs)
  await insertBillingEvents(tx, [...events, ...paid], atMs)
  if (notes.length === 0) return []
  const numbers = await insertNotes(tx, notes, atMs)
  return notes.map(({ idempotencyKey: _k, request: _r, legalEntityId: _e, numberPrefix: _p, ...note }, index) => ({
    ...note,
    number: numbers[index] ?? '',
    issuedAtMs: atMs,
  }))
}

/** Several may lie on one invoice: each finds what the ones before it left due. */
function settledNotes(drafts: readonly DraftNote[], means: Means): NewCreditNote[] {
  const states = new Map<string, { creditedMinor: bigint; settledMinor: bigint }>()
  return drafts.map(({ invoice, lines, ...rest }) => {
    const state = states.get(invoice.id) ?? invoice
    const subtotalMinor = lines.reduce((sum, line) => sum + line.netMinor, 0n)
    const taxMinor = lines.reduce((sum, line) => sum + line.taxMinor, 0n)
    const totalMinor = subtotalMinor + taxMinor
    if (totalMinor <= 0n || totalMinor > invoice.totalMinor - state.creditedMinor) {
      throw new Problem('invalid_request', 'A credit note must be above 0, and at most what is left of its invoice.')
    }
    const isOpen = (invoice.state === 'finalised' || invoice.state === 'uncollectible') && !invoice.isBeingPaid
    const dueMinor = isOpen ? invoice.amountDueMinor - state.settledMinor : 0n
    const settledMinor = totalMinor < dueMinor ? totalMinor : dueMinor
    states.set(invoice.id, {
      creditedMinor: state.creditedMinor + totalMinor,
      settledMinor: state.settledMinor + settledMinor,
    })
    const { id: invoiceId, customerId, currency, legalEntityId, numberPrefix } = invoice
    const amounts = { subtotalMinor, taxMinor, totalMinor, settledMinor, balanceMinor: totalMinor - settledMinor }
    const of = { invoiceId, customerId, currency, legalEntityId, numberPrefix }
    return { id: means.newId(), ...of, lines, ...rest, ...amounts }
  })
}

async function payWhatOwesNothing(
  tx: TenantTransaction,
  means: Means,
  drafts: readonly DraftNote[],
  notes: readonly NewCreditNote[],
  atMs: number,
): Promise<NewBillingEvent[]> {
  const invoices = [...new Map(drafts.map(({ invoice }) => [invoice.id, invoice])).values()]
  const paid = invoices.filter(({ id, state, amountDueMinor, settledMinor }) => {
    const settled = notes.filter(({ invoiceId }) => invoiceId === id).map((note) => note.settledMinor)
    const byNotes = settled.reduce((sum, minor) => sum + minor, 0n)
    const isOwed = state === 'finalised' || state === 'uncollectible'
    return isOwed && byNotes > 0n && settledMinor + byNotes === amountDueMinor
  })
  if (paid.length === 0) return []
  await markPaid(
    tx,
    paid.map(({ id }) => id),
    atMs,
  )
  return paid.map(({ id: invoiceId, customerId, subscriptionId, currency, totalMinor }) => ({
    id: means.newId(),
    event: 'invoice.paid',
    customerId,
    subscriptionId,
    invoiceId,
    data: { total: formatMoney(totalMinor, currency), amount_paid: formatMoney(0n, currency), currency },
  }))
}

function issuedEvent(means: Means, note: NewCreditNote, drafts: readonly DraftNote[]): NewBillingEvent {
  const { id, invoiceId, customerId, currency, reason } = note
  const subscriptionId = drafts.find(({ invoice }) => invoice.id === invoiceId)?.invoice.subscriptionId
  const money = (minor: bigint) => formatMoney(minor, currency)
  return {
    id: means.newId(),
    event: 'credit_note.issued',
    customerId,
    invoiceId,
    ...(subscriptionId === undefined ? {} : { subscriptionId }),
    data: {
      credit_note_id: id,
      reason,
      total: money(note.totalMinor),
      off_amount_due: money(note.settledMinor),
      to_balance: money(note.balanceMinor),
      currency,
    },
  }
}
