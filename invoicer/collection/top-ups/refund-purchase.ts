import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { takeOff } from '../credits/credits.postgres.ts'
import { watchCreditOf } from '../credits/thresholds.postgres.ts'
import { DEFAULT_CREDIT_THRESHOLDS } from '../credits/thresholds.ts'
import { insertRefund, lockBought } from './purchases.postgres.ts'

/** A credit note that is about to be made on a locked invoice. */
export type Refund = {
  creditNoteId: string
  invoiceId: string
  customerId: string
  currency: string
  totalMinor: bigint
}

/**
 * Takes back credit whose purchase a credit note gives back, in the transaction of the note and behind the lock of the
 * invoice; of any other invoice nothing. So a customer never has the money and the credit: sold = drawn + expired +
 * refunded + remaining.
 * @throws Problem illegal_state where less is left of the credit.
 */
export async function refundPurchase(tx: TenantTransaction, means: Means, refund: Refund, atMs: number): Promise<void> {
  const { creditNoteId, invoiceId, customerId, currency, totalMinor } = refund
  const bought = await lockBought(tx, invoiceId, atMs)
  if (bought === undefined) return
  const { grantId, remainingMinor } = bought
  if (totalMinor > remainingMinor) {
    const left = formatMoney(remainingMinor, currency)
    throw new Problem(
      'illegal_state',
      remainingMinor > 0n
        ? `Of this credit ${left} ${currency} is left, the rest was used, expired or rolled over: give back ${left} at most.`
        : 'Nothing is left of this credit, it was used, expired or rolled over: credit the invoices that it paid instead.',
    )
  }
  await takeOff(tx, [{ grantId, amountMinor: totalMinor }])
  await insertRefund(tx, { id: means.newId(), grantId, amountMinor: totalMinor, creditNoteId }, atMs)
  await watchCreditOf(tx, [customerId], DEFAULT_CREDIT_THRESHOLDS, atMs)
  const data = { grant_id: grantId, credit_note_id: creditNoteId, amount: formatMoney(totalMinor, currency), currency }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'credit.refunded', customerId, invoiceId, data }], atMs)
}
