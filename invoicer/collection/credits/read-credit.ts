import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Customer } from '../../agreements/customers/customer.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import type { Page } from '../../transaction.ts'
import type { CreditGrant, CreditUse } from './credit.ts'
import { listGrants, listUses, type ScopeBalance } from './credits.postgres.ts'

/**
 * What a customer has left, by what it may pay too, and its grants. What has expired is in no balance, whether or not it
 * was taken off already.
 * @throws Problem not_found
 */
export async function readCredit(
  tx: TenantTransaction,
  idOrKey: string,
  page: Page,
  nowMs: number,
): Promise<{ customer: Customer; balanceMinor: bigint; balances: ScopeBalance[]; grants: CreditGrant[] }> {
  const customer = await readCustomer(tx, idOrKey)
  const { balances, grants } = await listGrants(tx, customer.id, page, nowMs)
  const balanceMinor = balances.reduce((sum, one) => sum + one.balanceMinor, 0n)
  return { customer, balanceMinor, balances, grants }
}

/** Where a customer's credit went, in the order of time. @throws Problem not_found */
export async function readCreditUses(
  tx: TenantTransaction,
  idOrKey: string,
  page: Page,
): Promise<{ customer: Customer; uses: CreditUse[] }> {
  const customer = await readCustomer(tx, idOrKey)
  return { customer, uses: await listUses(tx, customer.id, page) }
}
