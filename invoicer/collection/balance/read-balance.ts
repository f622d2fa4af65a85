import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Customer } from '../../agreements/customers/customer.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import type { Page } from '../../transaction.ts'
import { type Balance, listBalances, listEntries } from './balance.postgres.ts'
import type { BalanceEntry } from './balance.ts'
import { listCarried } from './carried.postgres.ts'

/**
 * What a customer has to its credit, what waits for its next invoice, and a page of how the former came.
 * @throws Problem not_found.
 */
export async function readBalance(
  tx: TenantTransaction,
  idOrKey: string,
  page: Page,
): Promise<{
  customer: Customer
  balances: Balance[]
  carried: { currency: string; amountMinor: bigint }[]
  entries: BalanceEntry[]
}> {
  const customer = await readCustomer(tx, idOrKey)
  const balances = await listBalances(tx, customer.id)
  const carried = await listCarried(tx, customer.id)
  return { customer, balances, carried, entries: await listEntries(tx, customer.id, page) }
}
