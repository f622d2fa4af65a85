import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { lockSubscription, storeChange } from './subscriptions.postgres.ts'

/**
 * Says that a subscription is no longer as whoever rated it before found it, though nothing of it changes: they rate it
 * again. Until the end of the transaction nobody else bills it.
 */
export async function reviseSubscription(tx: TenantTransaction, id: string): Promise<void> {
  const found = await lockSubscription(tx, id)
  if (found !== undefined) await storeChange(tx, found.subscription, found.feesBilled)
}
