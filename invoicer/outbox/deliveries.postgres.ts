import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

/** What webhooks are told: `id` is the same for every one of them, `payload` the text that is signed and sent. */
export type Told = { id: string; payload: string; atMs: number }

/** Rows that ingest sends, for every webhook that subscribed to the topic, in the transaction of what they tell. */
export async function queueDeliveries(tx: TenantTransaction, topic: string, told: readonly Told[]): Promise<void> {
  await tx.query(
    `INSERT INTO webhook_deliveries (tenant_id, endpoint_id, event_id, topic, payload, state, next_attempt_at, created_at)
     SELECT app_tenant(), e.id, told.id, $1, told.payload::json, 'waiting', told.at, told.at
     FROM unnest($2::uuid[], $3::text[], $4::timestamptz[]) AS told (id, payload, at)
     JOIN webhook_endpoints e ON $1 = ANY (e.topics) AND e.deleted_at IS NULL`,
    [topic, told.map(({ id }) => id), told.map(({ payload }) => payload), told.map(({ atMs }) => new Date(atMs))],
  )
}
