import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Subscription } from './subscription.ts'
import { findSubscription } from './subscriptions.postgres.ts'

/** @throws Problem not_found. Another tenant's subscription is not there either. */
export async function readSubscription(tx: TenantTransaction, idOrKey: string): Promise<Subscription> {
  const subscription = await findSubscription(tx, idOrKey)
  if (subscription === undefined) {
    throw new Problem('not_found', 'There is no subscription with this id or external key.')
  }
  return subscription
}
