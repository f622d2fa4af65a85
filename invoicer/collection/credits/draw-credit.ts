import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { InvoiceToPay } from '../../billing/run/issue-chunk.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { allocateCredit } from './allocate-credit.ts'
import { insertUses, lockOpenCredit, takeOff } from './credits.postgres.ts'
import { renewCredit } from './renew-credit.ts'

/**
 * Pays invoices that are about to be issued from their customers' credit, in the transaction that issues them; answers
 * what it paid of each. The grants are locked: whoever issues for the same customer at once waits, and finds what is
 * left. What expires at the moment of issuing does not pay any more, and what schedules bring or rolls over by then does,
 * though nobody has come to give it before.
 */
export async function drawCredit(
  tx: TenantTransaction,
  means: Means,
  invoices: readonly InvoiceToPay[],
  atMs: number,
): Promise<Map<string, bigint>> {
  const paid = new Map<string, bigint>()
  const owing = invoices.filter(({ totalMinor }) => totalMinor > 0n)
  if (owing.length === 0) return paid
  const customers = [...new Set(owing.map(({ customerId }) => customerId))]
  await renewCredit(tx, means, customers, atMs)
  const draws = allocateCredit(owing, await lockOpenCredit(tx, customers, atMs))
  if (draws.length === 0) return paid
  await takeOff(tx, draws)
  await insertUses(
    tx,
    draws.map((draw) => ({ ...draw, id: means.newId(), kind: 'drawn', toGrantId: null })),
    atMs,
  )
  for (const { invoiceId, amountMinor } of draws) paid.set(invoiceId, (paid.get(invoiceId) ?? 0n) + amountMinor)
  const events = owing.flatMap(({ id: invoiceId, customerId, subscriptionId, currency }) => {
    const amountMinor = paid.get(invoiceId)
    if (amountMinor === undefined) return []
    const data = { amount: formatMoney(amountMinor, currency), currency }
    return [{ id: means.newId(), event: 'credit.drawn' as const, customerId, subscriptionId, invoiceId, data }]
  })
  await insertBillingEvents(tx, events, atMs)
  return paid
}
