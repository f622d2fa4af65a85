import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { listPlacesOfParts } from '../../billing/consolidated/parts.postgres.ts'
import type { ToGiveBack } from '../../billing/late/keep-differences.ts'
import type { Means } from '../../transaction.ts'
import type { BalanceChange } from '../balance/balance.ts'
import type { CreditableInvoice, CreditNoteLine } from './credit-note.ts'
import { lockCreditable } from './credit-notes.postgres.ts'
import { takeBack } from './take-back.ts'
import { type DraftNote, writeNotes } from './write-notes.ts'

/**
 * Credit notes for negative differences, each on the invoices whose lines billed it, in the order given and at most what
 * is left of line and invoice; what is left then becomes balance. In the caller's transaction, as its last effect.
 */
export async function giveBack(
  tx: TenantTransaction,
  means: Means,
  wanted: readonly ToGiveBack[],
  atMs: number,
): Promise<void> {
  const placed = await asShown(tx, wanted)
  const locked = await lockCreditable(
    tx,
    placed.flatMap(({ lines }) => lines.map(({ invoiceId }) => invoiceId)),
  )
  const asLocked = new Map(locked.map((invoice) => [invoice.id, invoice]))
  const left = new Map(asLocked)
  const drafts: DraftNote[] = []
  const toBalance: BalanceChange[] = []
  for (const one of placed) {
    const { taken, balanceMinor: amountMinor } = takeBack(one, left)
    for (const [invoiceId, lines] of taken) {
      const invoice = asLocked.get(invoiceId)
      if (invoice !== undefined) drafts.push(noteOf(one, invoice, lines))
    }
    const { customerId, currency, adjustmentId } = one
    if (amountMinor > 0n) toBalance.push({ customerId, currency, kind: 'adjustment', amountMinor, adjustmentId })
  }
  await writeNotes(tx, means, drafts, atMs, toBalance)
}

/**
 * Lines of parts are given back on the invoice that gathered them.
 * @throws Problem calculation_failed where none has yet: whoever asked keeps the difference until there is one.
 */
async function asShown(tx: TenantTransaction, wanted: readonly ToGiveBack[]): Promise<ToGiveBack[]> {
  const invoiceIds = wanted.flatMap(({ lines }) => lines.map(({ invoiceId }) => invoiceId))
  const placeOf = await listPlacesOfParts(tx, invoiceIds)
  if (placeOf.size === 0) return [...wanted]
  return wanted.map((one) => {
    const lines = one.lines.map(({ invoiceId, lineIndex }) => {
      const place = placeOf.get(invoiceId)
      if (place === undefined) return { invoiceId, lineIndex }
      if (place.consolidatedId !== null && place.firstLine !== null) {
        return { invoiceId: place.consolidatedId, lineIndex: place.firstLine + lineIndex }
      }
      throw new Problem(
        'calculation_failed',
        'The run that billed it has not issued its invoice yet: continue that one, or, if it has ended, start another.',
      )
    })
    return { ...one, lines }
  })
}

function noteOf({ adjustmentId, reason }: ToGiveBack, invoice: CreditableInvoice, lines: CreditNoteLine[]): DraftNote {
  const request = { adjustment_id: adjustmentId }
  return { invoice, lines, reason, idempotencyKey: `usage-adjustment/${adjustmentId}`, request }
}
