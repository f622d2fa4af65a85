import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Subscription } from './subscription.ts'
import { findOverlap } from './subscriptions.postgres.ts'

/**
 * Usage belongs to a customer: two subscriptions that price a meter at the same time would both bill all of it. Asked
 * behind `lockSubscriptionsOf`, so that what is seen stays so, and when the subscription is stored as it is to be.
 * @throws Problem conflict
 */
export async function refuseOverlap(tx: TenantTransaction, subscription: Subscription): Promise<void> {
  const overlap = await findOverlap(tx, subscription)
  if (overlap === undefined) return
  throw new Problem(
    'conflict',
    `Subscription ${JSON.stringify(overlap.externalKey)} of this customer prices meter ${JSON.stringify(overlap.meter)} at ` +
      'the same time: the same usage would be billed twice. Start this one where that one ends, or take another plan.',
  )
}
