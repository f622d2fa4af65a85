import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney, parseMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { readInvoice } from '../../billing/invoices/read-invoice.ts'
import { idOrNull, type Means } from '../../transaction.ts'
import { type Refund, refundPurchase } from '../top-ups/refund-purchase.ts'
import type { CreditableInvoice, CreditNote, CreditNoteLine } from './credit-note.ts'
import { findNoteByKey, listNotes, lockCreditable } from './credit-notes.postgres.ts'
import { creditAll, creditLowered, creditPart, loweredLine, restOfAll } from './split-credit.ts'
import { type DraftNote, writeNotes } from './write-notes.ts'

/** Amounts are texts in major units, tax included. Neither an amount nor lines: everything that is left. */
export type IssueCreditNote = {
  invoiceId: string
  idempotencyKey: string
  reason: string
  amount: string | null
  lines: readonly { line: number; amount: string | null }[] | null
}

/**
 * Gives an invoice back, or a part of it, once per idempotency key: the same request again answers the stored note. All
 * notes together never exceed the invoice, and the last one takes exactly what is left, tax included.
 * What gives a purchase of credit back takes the credit back.
 * @throws Problem not_found; conflict for another request under the same key; invalid_request for an amount that cannot be;
 * illegal_state where bought credit is no longer there.
 */
export async function issueCreditNote(
  tx: TenantTransaction,
  input: IssueCreditNote,
  means: Means,
): Promise<{ note: CreditNote; created: boolean }> {
  const [invoice] = idOrNull(input.invoiceId) === null ? [] : await lockCreditable(tx, [input.invoiceId])
  if (invoice === undefined) throw new Problem('not_found', 'There is no invoice with this id.')
  const { idempotencyKey, reason, amount, lines } = input
  const request = { reason, amount, lines: lines === null ? null : lines.map(({ line, amount }) => ({ line, amount })) }
  const stored = await findNoteByKey(tx, invoice.id, idempotencyKey)
  if (stored !== undefined) {
    if (textOf(stored.request) === textOf(request)) return { note: stored.note, created: false }
    throw new Problem('conflict', 'This idempotency key stands for another credit note on the invoice.')
  }
  if (invoice.state === 'part') {
    throw new Problem(
      'illegal_state',
      'It is a part of another invoice, and that is to be paid: give lines of that one back.',
    )
  }
  if (invoice.state === 'void') throw new Problem('conflict', 'The invoice is void: there is nothing to give back.')
  const taken = takenFrom(invoice, input)
  const atMs = means.now()
  const draft = { id: means.newId(), invoice, lines: taken, reason, idempotencyKey, request }
  // Credit is sold beside subscriptions alone.
  if (invoice.subscriptionId === null) await refundPurchase(tx, means, refundOf(draft), atMs)
  const [note] = await writeNotes(tx, means, [draft], atMs)
  if (note === undefined) throw new Error('There is no credit note.')
  return { note, created: true }
}

function refundOf({ id: creditNoteId, invoice, lines }: DraftNote & { id: string }): Refund {
  const { id: invoiceId, customerId, currency } = invoice
  const totalMinor = lines.reduce((sum, { netMinor, taxMinor }) => sum + netMinor + taxMinor, 0n)
  return { creditNoteId, invoiceId, customerId, currency, totalMinor }
}

/** Oldest first. @throws Problem not_found. */
export async function readCreditNotes(tx: TenantTransaction, invoiceId: string): Promise<CreditNote[]> {
  const { id } = await readInvoice(tx, invoiceId)
  return listNotes(tx, id)
}

function takenFrom(invoice: CreditableInvoice, { amount, lines }: IssueCreditNote): CreditNoteLine[] {
  const { currency } = invoice
  if (amount !== null && lines !== null) throw invalid('amount', 'Give an amount or lines, not both.')
  const restMinor = invoice.totalMinor - invoice.creditedMinor
  if (restMinor <= 0n) throw invalid('amount', 'Nothing is left of the invoice.')
  if (amount !== null) {
    const wantedMinor = parseMoney(amount, currency)
    if (wantedMinor <= 0n || wantedMinor > restMinor)
      throw invalid('amount', `This must be above 0, and at most what is left: ${formatMoney(restMinor, currency)}.`)
    return creditPart(invoice.lines, wantedMinor)
  }
  if (lines === null) return creditAll(invoice.lines)
  if (new Set(lines.map(({ line }) => line)).size !== lines.length)
    throw invalid('lines', 'Each line may be named once.')
  return lines.flatMap(({ line: lineIndex, amount: part }) => {
    const line = invoice.lines.find((one) => one.lineIndex === lineIndex)
    if (line === undefined) throw invalid('lines', `The invoice has no line ${lineIndex}.`)
    if (line.lowersLine !== null)
      throw invalid('lines', `Line ${lineIndex} is a discount: it is given back with line ${line.lowersLine}.`)
    const own = loweredLine(line, invoice.lines)
    return creditLowered(own, part === null ? restOfAll(own).grossMinor : parseMoney(part, currency))
  })
}

/** jsonb has no order of members. */
function textOf(request: object): string {
  return JSON.stringify(request, ['reason', 'amount', 'lines', 'line'])
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', 'The credit note is not valid.', { errors: [{ path, message }] })
}
