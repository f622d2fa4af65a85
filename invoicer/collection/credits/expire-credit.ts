import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { insertUses, lockExpired, takeOff } from './credits.postgres.ts'

/** So many grants in a transaction. */
const MOST = 1_000

/** Longer than a transaction that issues invoices takes, and than clocks of processes differ. */
const LATER_MS = 5 * 60_000

/** Grants that expired before it are taken off: one that an invoice may be drawing on at this moment is not. */
export function expiredBeforeMs(nowMs: number): number {
  return nowMs - LATER_MS
}

/**
 * Takes what is left of expired grants off them, some minutes later, and keeps that it expired; answers of how many. It
 * pays nothing from its expiry on, so when this comes makes no difference to anybody's invoice. Of what rolls over
 * `renewCredit` does the same.
 */
export async function expireCredit(tx: TenantTransaction, means: Means): Promise<number> {
  const atMs = means.now()
  const expired = await lockExpired(tx, expiredBeforeMs(atMs), MOST)
  if (expired.length === 0) return 0
  const parts = expired.map(({ id, remainingMinor }) => ({ grantId: id, amountMinor: remainingMinor }))
  await takeOff(tx, parts)
  await insertUses(
    tx,
    parts.map((part) => ({ ...part, id: means.newId(), kind: 'expired', invoiceId: null, toGrantId: null })),
    atMs,
  )
  const events = expired.map(({ id, customerId, remainingMinor, currency }) => {
    const data = { grant_id: id, amount: formatMoney(remainingMinor, currency), currency }
    return { id: means.newId(), event: 'credit.expired' as const, customerId, data }
  })
  await insertBillingEvents(tx, events, atMs)
  return expired.length
}
