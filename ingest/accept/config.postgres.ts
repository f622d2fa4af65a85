import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

export type MeterRow = { slug: string; eventType: string; aggregation: 'sum' | 'count'; valuePath: string[] }
export type LimitRow = { subject: string; meter: string; limit: string; period: 'day' | 'month' }

/** What the edge needs of the tenant's meters. */
export async function readMeters(tx: TenantTransaction): Promise<MeterRow[]> {
  const { rows } = await tx.query<MeterRow>(
    'SELECT slug, event_type AS "eventType", aggregation, value_path AS "valuePath" FROM meters ORDER BY slug',
  )
  return rows
}

export async function readLimits(tx: TenantTransaction): Promise<LimitRow[]> {
  const { rows } = await tx.query<LimitRow>(
    'SELECT subject, meter, limit_quantity::text AS limit, period FROM quota_limits ORDER BY subject, meter',
  )
  return rows
}
