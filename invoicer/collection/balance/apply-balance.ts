import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { InvoiceToPay } from '../../billing/run/issue-chunk.ts'
import type { Means } from '../../transaction.ts'
import { ensureBalances, lockBalances } from './balance.postgres.ts'
import type { BalanceChange } from './balance.ts'
import { changeBalances } from './change-balance.ts'

/**
 * Pays what invoices still owe behind prepaid credit from their customers' balances, in the transaction that issues them,
 * and answers what each took; what is below 0 went to the balance instead. Balances are locked until its end, so that
 * nobody else spends them, and what one gives the next one of the same chunk may take.
 */
export async function applyBalance(
  tx: TenantTransaction,
  means: Means,
  invoices: readonly InvoiceToPay[],
  creditOf: ReadonlyMap<string, bigint>,
  atMs: number,
): Promise<ReadonlyMap<string, bigint>> {
  const negative = invoices.filter(({ totalMinor }) => totalMinor < 0n)
  if (negative.length > 0) await ensureBalances(tx, negative)
  const customers = new Set(invoices.map(({ customerId }) => customerId))
  const locked = await lockBalances(tx, [...customers])
  if (locked.length === 0) return new Map<string, bigint>()
  const left = new Map(locked.map((one) => [`${one.customerId} ${one.currency}`, one.balanceMinor]))
  const changes: BalanceChange[] = []
  const taken = new Map<string, bigint>()
  for (const { id: invoiceId, customerId, currency, totalMinor } of invoices) {
    const key = `${customerId} ${currency}`
    const balanceMinor = left.get(key) ?? 0n
    const owedMinor = totalMinor - (creditOf.get(invoiceId) ?? 0n)
    const takenMinor = owedMinor < balanceMinor ? owedMinor : balanceMinor
    if (takenMinor === 0n) continue
    left.set(key, balanceMinor - takenMinor)
    taken.set(invoiceId, takenMinor)
    const kind = takenMinor > 0n ? 'applied' : 'negative_invoice'
    changes.push({ customerId, currency, kind, amountMinor: -takenMinor, invoiceId })
  }
  if (changes.length > 0) await changeBalances(tx, means, locked, changes, atMs)
  return taken
}
