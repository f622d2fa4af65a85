import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney, isStorable } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { type Balance, ensureBalances, lockBalances, writeEntries } from './balance.postgres.ts'
import type { BalanceChange } from './balance.ts'

/** Gives to balances, in the caller's transaction. */
export async function giveToBalance(
  tx: TenantTransaction,
  means: Means,
  changes: readonly BalanceChange[],
  atMs: number,
): Promise<void> {
  if (changes.length === 0) return
  await ensureBalances(tx, changes)
  const locked = await lockBalances(
    tx,
    changes.map(({ customerId }) => customerId),
  )
  await changeBalances(tx, means, locked, changes, atMs)
}

/** Keeps changes of locked balances in their order. @throws Problem calculation_failed below 0, or beyond a column. */
export async function changeBalances(
  tx: TenantTransaction,
  means: Means,
  locked: readonly Balance[],
  changes: readonly BalanceChange[],
  atMs: number,
): Promise<void> {
  const balances = new Map(locked.map((one) => [`${one.customerId} ${one.currency}`, one.balanceMinor]))
  const entries = changes.map((change) => {
    const key = `${change.customerId} ${change.currency}`
    const balanceMinor = (balances.get(key) ?? 0n) + change.amountMinor
    if (balanceMinor < 0n || !isStorable(balanceMinor)) {
      throw new Problem('calculation_failed', `A balance of ${balanceMinor} cannot be kept.`)
    }
    balances.set(key, balanceMinor)
    return { ...change, id: means.newId(), balanceMinor }
  })
  await writeEntries(tx, entries, atMs)
  await insertBillingEvents(
    tx,
    entries.map((entry) => changedEvent(means, entry, entry.balanceMinor)),
    atMs,
  )
}

function changedEvent(means: Means, change: BalanceChange, balanceMinor: bigint): NewBillingEvent {
  const { customerId, currency, kind, amountMinor, invoiceId } = change
  const money = (minor: bigint) => formatMoney(minor, currency)
  return {
    id: means.newId(),
    event: 'balance.changed',
    customerId,
    ...(invoiceId === undefined ? {} : { invoiceId }),
    data: { kind, amount: money(amountMinor), balance: money(balanceMinor), currency },
  }
}
