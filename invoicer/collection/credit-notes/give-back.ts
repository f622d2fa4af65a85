import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
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
  const locked = await lockCreditable(
    tx,
    wanted.flatMap(({ lines }) => lines.map(({ invoiceId }) => invoiceId)),
  )
  const asLocked = new Map(locked.map((invoice) => [invoice.id, invoice]))
  const left = new Map(asLocked)
  const drafts: DraftNote[] = []
  const toBalance: BalanceChange[] = []
  for (const one of wanted) {
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

function noteOf({ adjustmentId, reason }: ToGiveBack, invoice: CreditableInvoice, lines: CreditNoteLine[]): DraftNote {
  const request = { adjustment_id: adjustmentId }
  return { invoice, lines, reason, idempotencyKey: `usage-adjustment/${adjustmentId}`, request }
}
