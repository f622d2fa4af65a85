import type { Pool } from 'pg'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { KafkaInput, TenantInput } from './input.ts'

const COLUMNS = 'topic, format, schemas, backfill, paused'

export async function storeInput(tx: TenantTransaction, input: KafkaInput, at: Date): Promise<void> {
  const { topic, format, schemas, backfill, paused } = input
  await tx.query(
    `INSERT INTO kafka_inputs (tenant_id, topic, format, schemas, backfill, paused, created_at, updated_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $6)
     ON CONFLICT (tenant_id, topic) DO UPDATE
     SET format = excluded.format, schemas = excluded.schemas, backfill = excluded.backfill, paused = excluded.paused,
       updated_at = greatest(excluded.updated_at, kafka_inputs.updated_at + interval '1 microsecond')`,
    [topic, format, JSON.stringify(schemas), backfill, paused, at],
  )
}

export async function findInput(tx: TenantTransaction, topic: string): Promise<KafkaInput | undefined> {
  const { rows } = await tx.query<KafkaInput>(`SELECT ${COLUMNS} FROM kafka_inputs WHERE topic = $1`, [topic])
  return rows[0]
}

export async function listInputs(tx: TenantTransaction): Promise<KafkaInput[]> {
  const { rows } = await tx.query<KafkaInput>(`SELECT ${COLUMNS} FROM kafka_inputs ORDER BY topic`)
  return rows
}

/** `version` is another one after every change. */
export type ActiveInput = TenantInput & { version: string }

/** What is to be read, of all tenants. */
export async function listActiveInputs(pool: Pool): Promise<ActiveInput[]> {
  const { rows } = await pool.query<ActiveInput>(
    `SELECT tenant_id AS "tenantId", slug AS "tenantSlug", topic, format, schemas, backfill, false AS paused,
       updated_at::text AS version
     FROM active_kafka_inputs()`,
  )
  return rows
}
