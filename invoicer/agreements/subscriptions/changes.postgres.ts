import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Subscription } from './subscription.ts'

/** A change as it was asked for, and what was answered when. */
export type AnsweredChange = { change: unknown; answer: Subscription; atMs: number }

export async function findAnswer(
  tx: TenantTransaction,
  subscriptionId: string,
  key: string,
): Promise<AnsweredChange | undefined> {
  const { rows } = await tx.query<{ change: unknown; answer: Subscription; at: Date }>(
    'SELECT change, answer, at FROM subscription_changes WHERE subscription_id = $1 AND idempotency_key = $2',
    [subscriptionId, key],
  )
  return rows.map(({ at, ...rest }) => ({ ...rest, atMs: at.getTime() }))[0]
}

export async function insertAnswer(
  tx: TenantTransaction,
  subscriptionId: string,
  key: string,
  { change, answer, atMs }: AnsweredChange,
): Promise<void> {
  await tx.query(
    `INSERT INTO subscription_changes (tenant_id, subscription_id, idempotency_key, change, answer, at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5)`,
    [subscriptionId, key, JSON.stringify(change), JSON.stringify(answer), new Date(atMs)],
  )
}
