import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { LeastDue } from '../../agreements/invoice-settings/settings.ts'
import type { Applied } from '../../billing/invoices/rated-invoice.ts'
import type { InvoiceToPay } from '../../billing/run/issue-chunk.ts'
import type { Means } from '../../transaction.ts'
import { ensureBalances, lockBalances } from './balance.postgres.ts'
import type { BalanceChange } from './balance.ts'
import { insertCarried, lockCarried, markCarried } from './carried.postgres.ts'
import { changeBalances } from './change-balance.ts'
import { placeOf, settleDue } from './settle-due.ts'

/**
 * Pays what invoices still owe behind prepaid credit from their customers' balances, in the transaction that issues them,
 * and carries forward what is too little; answers what was done about each. Balances and what waits are locked until its
 * end, so that nobody else spends or bills them.
 */
export async function applyBalance(
  tx: TenantTransaction,
  means: Means,
  {
    invoices,
    creditOf,
    leastDue,
  }: { invoices: readonly InvoiceToPay[]; creditOf: ReadonlyMap<string, bigint>; leastDue: LeastDue },
  atMs: number,
): Promise<ReadonlyMap<string, Applied>> {
  const negative = invoices.filter(({ totalMinor }) => totalMinor < 0n)
  if (negative.length > 0) await ensureBalances(tx, negative)
  const customers = [...new Set(invoices.map(({ customerId }) => customerId))]
  const locked = await lockBalances(tx, customers)
  const carried = await lockCarried(tx, customers)
  if (locked.length === 0 && carried.length === 0 && leastDue.size === 0) return new Map<string, Applied>()
  const owing = invoices.map(({ id, customerId, legalEntityId = null, currency, totalMinor }) => {
    return { id, customerId, legalEntityId, currency, owedMinor: totalMinor - (creditOf.get(id) ?? 0n) }
  })
  const balances = new Map(locked.map((one) => [placeOf(one), one.balanceMinor]))
  const { applied, taken } = settleDue(owing, { balances, carried, leastDue })
  const changes = owing.flatMap(({ id: invoiceId, customerId, currency }): BalanceChange[] => {
    const balanceMinor = applied.get(invoiceId)?.balanceMinor ?? 0n
    if (balanceMinor === 0n) return []
    const kind = balanceMinor > 0n ? 'applied' : 'negative_invoice'
    return [{ customerId, currency, kind, amountMinor: -balanceMinor, invoiceId }]
  })
  const onward = owing.flatMap(({ id: fromInvoiceId, customerId, legalEntityId, currency }) => {
    const amountMinor = applied.get(fromInvoiceId)?.carriedOutMinor ?? 0n
    return amountMinor === 0n ? [] : [{ fromInvoiceId, customerId, legalEntityId, currency, amountMinor }]
  })
  if (changes.length > 0) await changeBalances(tx, means, locked, changes, atMs)
  if (onward.length > 0) await insertCarried(tx, onward, atMs)
  if (taken.length > 0) await markCarried(tx, taken)
  return applied
}
