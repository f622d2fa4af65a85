import type { Aggregation } from '../../schemas/meter/aggregation.ts'
import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

/** How a meter adds up; undefined if the tenant has no such meter. It is not archived before the transaction ends. */
export async function aggregationOf(
  tx: TenantTransaction,
  meter: string,
): Promise<{ aggregation: Aggregation; windowed: boolean } | undefined> {
  const { rows } = await tx.query<{ aggregation: Aggregation; windowed: boolean }>(
    `SELECT aggregation, window_size IS NOT NULL AS windowed FROM meters WHERE slug = $1 AND archived_at IS NULL
     FOR KEY SHARE`,
    [meter],
  )
  return rows[0]
}

/** Stores a limit; false if the tenant has no such meter. */
export async function storeLimit(
  tx: TenantTransaction,
  limit: { subject: string; meter: string; limit: string; window: string },
  at: Date,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO quota_limits (tenant_id, subject, meter, limit_quantity, period, updated_at)
     SELECT app_tenant(), $1, slug, $3, $4, $5 FROM meters WHERE slug = $2
     ON CONFLICT (tenant_id, subject, meter) DO UPDATE
     SET limit_quantity = excluded.limit_quantity, period = excluded.period, updated_at = excluded.updated_at`,
    [limit.subject, limit.meter, limit.limit, limit.window, at],
  )
  return rowCount === 1
}

/** False if there was none. */
export async function removeLimit(tx: TenantTransaction, subject: string, meter: string): Promise<boolean> {
  const { rowCount } = await tx.query('DELETE FROM quota_limits WHERE subject = $1 AND meter = $2', [subject, meter])
  return rowCount === 1
}

/** Whether a subject has an entitlement of its own under that name, which then says what holds. */
export async function hasEntitlement(tx: TenantTransaction, subject: string, feature: string): Promise<boolean> {
  const { rowCount } = await tx.query(
    `SELECT 1 FROM entitlements WHERE holder_kind = 'subject' AND holder = $1 AND feature = $2`,
    [subject, feature],
  )
  return rowCount === 1
}
