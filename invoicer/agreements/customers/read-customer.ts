import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Customer } from './customer.ts'
import { findCustomer } from './customers.postgres.ts'

/** @throws Problem not_found. Another tenant's customer is not there either. */
export async function readCustomer(tx: TenantTransaction, idOrKey: string): Promise<Customer> {
  const customer = await findCustomer(tx, idOrKey)
  if (customer === undefined) throw new Problem('not_found', 'There is no customer with this id or external key.')
  return customer
}
