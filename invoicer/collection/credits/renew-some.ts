import type { TenantId } from '../../../schemas/http/door.ts'
import { isDataError } from '../../billing/run/issue-chunk.ts'
import type { Means, Transact } from '../../transaction.ts'
import { renewCredit } from './renew-credit.ts'
import { listRenewals } from './renewals.postgres.ts'

type RenewDeps = Means & { transact: Transact }

/** So many customers in a transaction. */
const MOST = 200

/**
 * Renews the credit of some of a tenant's customers that have such due; answers of how many, 0 when none is left. What the
 * database refuses because of its content would be refused each time: then each customer gets a transaction of its own,
 * and `failed` hears of those at fault, who are tried again with the next call.
 */
export async function renewSome(
  deps: RenewDeps,
  tenantId: TenantId,
  atMs: number,
  failed: (customerId: string, error: unknown) => void,
): Promise<number> {
  const renew = (customerIds: readonly string[]) =>
    deps.transact(tenantId, (tx) => renewCredit(tx, deps, customerIds, atMs))
  const customers = await deps.transact(tenantId, (tx) => listRenewals(tx, null, atMs, MOST))
  if (customers.length === 0) return 0
  try {
    await renew(customers)
    return customers.length
  } catch (error) {
    if (!isDataError(error)) throw error
  }
  for (const customerId of customers) {
    await renew([customerId]).catch((error: unknown) => {
      if (!isDataError(error)) throw error
      failed(customerId, error)
    })
  }
  return 0
}
