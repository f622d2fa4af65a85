import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'

export type Subject = {
  id: string
  key: string
  displayName: string | null
  metadata: Record<string, unknown> | null
  stripeCustomerId: string | null
  createdAt: Date
  updatedAt: Date
}
/** What is undefined stays as it was. */
export type SubjectUpsert = {
  key: string
  displayName?: string | null
  metadata?: Record<string, unknown> | null
  stripeCustomerId?: string | null
}

export async function upsertSubject(tx: TenantTransaction, given: SubjectUpsert, id: string, at: Date) {
  const { key, displayName, metadata, stripeCustomerId } = given
  const { rows } = await tx.query<Subject>(
    `INSERT INTO openmeter_subjects AS s
       (tenant_id, key, id, display_name, metadata, stripe_customer_id, created_at, updated_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $6)
     ON CONFLICT (tenant_id, key) DO UPDATE SET
       display_name = CASE WHEN $7 THEN excluded.display_name ELSE s.display_name END,
       metadata = CASE WHEN $8 THEN excluded.metadata ELSE s.metadata END,
       stripe_customer_id = CASE WHEN $9 THEN excluded.stripe_customer_id ELSE s.stripe_customer_id END,
       updated_at = excluded.updated_at
     RETURNING id, key, display_name AS "displayName", metadata, stripe_customer_id AS "stripeCustomerId",
       created_at AS "createdAt", updated_at AS "updatedAt"`,
    [
      ...[key, id, displayName ?? null, metadata ? JSON.stringify(metadata) : null, stripeCustomerId ?? null, at],
      ...[displayName !== undefined, metadata !== undefined, stripeCustomerId !== undefined],
    ],
  )
  return rows
}

/** Display names of those of the subjects that were upserted. */
export async function displayNames(
  tx: TenantTransaction,
  keys: readonly string[],
): Promise<Map<string, string | null>> {
  const { rows } = await tx.query<{ key: string; name: string | null }>(
    'SELECT key, display_name AS name FROM openmeter_subjects WHERE key = ANY ($1)',
    [keys],
  )
  return new Map(rows.map(({ key, name }) => [key, name]))
}
