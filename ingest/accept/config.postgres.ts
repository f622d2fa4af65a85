import type { Aggregation } from '../../schemas/meter/aggregation.ts'
import type { FilterInput } from '../../schemas/meter/filter.ts'
import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

/** A version of a meter. Times in ms; `untilMs` is null for the newest. */
export type MeterRow = {
  slug: string
  eventType: string
  aggregation: Aggregation
  value: string | null
  filter: FilterInput | null
  fromMs: number
  untilMs: number | null
}

/** What the edge needs of the tenant's meters: every version of those that are not archived. */
export async function readMeters(tx: TenantTransaction): Promise<MeterRow[]> {
  const { rows } = await tx.query<MeterRow>(
    `SELECT slug, meter_versions.event_type AS "eventType", aggregation, value, filter,
       (extract(epoch FROM effective_from) * 1000)::float8 AS "fromMs",
       (extract(epoch FROM lead(effective_from) OVER (PARTITION BY slug ORDER BY version)) * 1000)::float8 AS "untilMs"
     FROM meter_versions JOIN meters USING (tenant_id, slug)
     WHERE archived_at IS NULL
     ORDER BY slug, version`,
  )
  return rows
}
