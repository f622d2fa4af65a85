import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Customer } from '../../agreements/customers/customer.ts'
import { payerOf } from '../../billing/beside/one-off.postgres.ts'

/**
 * Invoices are issued to who pays, and draw on its credit: nothing would ever draw on that of who does not.
 * @throws Problem illegal_state where somebody else pays for the customer.
 */
export async function mustPayItself(tx: TenantTransaction, { id, pays }: Pick<Customer, 'id' | 'pays'>): Promise<void> {
  if (pays === 'self') return
  const { key } = await payerOf(tx, id)
  throw new Problem(
    'illegal_state',
    `Its credit would pay nothing: buy it for customer ${JSON.stringify(key)}, who pays.`,
  )
}
