import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'
import type { Held } from './events.clickhouse.ts'

/** A void by filter that was begun. `sameFilter`: it was asked for with the filter at hand. */
export type BegunVoid = { held: Held; count: number; reason: string; sameFilter: boolean }
export type NewVoid = {
  operationId: string
  filterJson: string
  reason: string
  by: string
  held: Held
  count: number
}

export async function findVoid(
  tx: TenantTransaction,
  operationId: string,
  filterJson: string,
): Promise<BegunVoid | undefined> {
  const { rows } = await tx.query<BegunRow>(
    `SELECT known_before, log_ends::text[], earlier_logs_until, event_count::text, reason, filter = $2::jsonb AS same_filter
     FROM filter_voids WHERE operation_id = $1`,
    [operationId, filterJson],
  )
  return rows.map((row) => ({
    held: {
      beforeMs: row.known_before.getTime(),
      ends: row.log_ends.map(Number),
      earlierUntilMs: row.earlier_logs_until.getTime(),
    },
    count: Number(row.event_count),
    reason: row.reason,
    sameFilter: row.same_filter,
  }))[0]
}

type BegunRow = {
  known_before: Date
  log_ends: string[]
  earlier_logs_until: Date
  event_count: string
  reason: string
  same_filter: boolean
}

/** The first of two that begin the same operation at once stands. */
export async function insertVoid(tx: TenantTransaction, begun: NewVoid, requestedAt: Date): Promise<void> {
  await tx.query(
    `INSERT INTO filter_voids
       (tenant_id, operation_id, filter, reason, requested_by, known_before, log_ends, earlier_logs_until,
         event_count, requested_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9)
     ON CONFLICT DO NOTHING`,
    [
      begun.operationId,
      begun.filterJson,
      begun.reason,
      begun.by,
      new Date(begun.held.beforeMs),
      begun.held.ends,
      new Date(begun.held.earlierUntilMs),
      begun.count,
      requestedAt,
    ],
  )
}
