import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

/** What others are told of. A topic is never renamed. */
export type OutboxTopic = 'subscription.created' | 'invoice.finalised' | 'invoice.paid'
export type OutboxRow = { id: string; topic: OutboxTopic; payload: Record<string, unknown> }

/** In the transaction of what the rows tell: both are there or neither. */
export async function insertOutbox(tx: TenantTransaction, rows: readonly OutboxRow[], atMs: number): Promise<void> {
  if (rows.length === 0) return
  await tx.query(
    `INSERT INTO outbox (tenant_id, id, topic, payload, created_at)
     SELECT app_tenant(), r.id, r.topic, r.payload::jsonb, $4
     FROM unnest($1::uuid[], $2::text[], $3::text[]) AS r (id, topic, payload)`,
    [rows.map((r) => r.id), rows.map((r) => r.topic), rows.map((r) => JSON.stringify(r.payload)), new Date(atMs)],
  )
}
