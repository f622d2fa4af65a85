import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { findDraft, type SubscriptionDraft } from './drafts.postgres.ts'
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

/** The same, or the draft that it still is. @throws Problem not_found. */
export async function readSubscriptionOrDraft(
  tx: TenantTransaction,
  idOrKey: string,
): Promise<Subscription | SubscriptionDraft> {
  const found = await findSubscription(tx, idOrKey)
  return found ?? (await findDraft(tx, idOrKey)) ?? readSubscription(tx, idOrKey)
}
