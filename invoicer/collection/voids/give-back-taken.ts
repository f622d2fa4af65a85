import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { LockedInvoice } from '../../billing/invoices/changes.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { releaseCarried } from '../balance/carried.postgres.ts'
import { giveToBalance } from '../balance/change-balance.ts'
import { listDrawn, lockDrawn, returnDrawn } from './voids.postgres.ts'

/**
 * Gives back exactly what an invoice took when it was issued: to each grant what was drawn on it, to the balance what that
 * paid, and what was carried forward to it waits for another one. What was drawn on a grant that has expired since goes to
 * the balance: nobody loses credit because an invoice was wrong. In the caller's transaction, behind the invoice's lock.
 */
export async function giveBackTaken(
  tx: TenantTransaction,
  means: Means,
  { id: invoiceId, customerId, subscriptionId, currency, balanceMinor }: LockedInvoice,
  atMs: number,
): Promise<void> {
  await lockDrawn(tx, invoiceId)
  // By the clock behind the locks: whoever held them may have waited for an expiry.
  const drawn = await listDrawn(tx, invoiceId, means.now())
  const live = drawn.filter(({ isExpired }) => !isExpired).map((one) => ({ ...one, id: means.newId() }))
  if (live.length > 0) {
    await returnDrawn(tx, invoiceId, live, atMs)
    const data = { amount: formatMoney(sumOf(live), currency), currency }
    const event = { id: means.newId(), event: 'credit.returned' as const, customerId, subscriptionId, invoiceId, data }
    await insertBillingEvents(tx, [event], atMs)
  }
  const amountMinor = balanceMinor + sumOf(drawn.filter(({ isExpired }) => isExpired))
  if (amountMinor > 0n) {
    await giveToBalance(tx, means, [{ customerId, currency, kind: 'void', amountMinor, invoiceId }], atMs)
  }
  await releaseCarried(tx, invoiceId)
}

function sumOf(parts: readonly { amountMinor: bigint }[]): bigint {
  return parts.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
}
