import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

/** A void by filter that was begun. `sameFilter`: it was asked for with the filter at hand. */
export type BegunVoid = { knownBeforeMs: number; count: number; reason: string; sameFilter: boolean }
export type NewVoid = {
  operationId: string
  filterJson: string
  reason: string
  by: string
  knownBeforeMs: number
  count: number
}

export async function findVoid(
  tx: TenantTransaction,
  operationId: string,
  filterJson: string,
): Promise<BegunVoid | undefined> {
  const { rows } = await tx.query<{ known_before: Date; event_count: string; reason: string; same_filter: boolean }>(
    `SELECT known_before, event_count::text, reason, filter = $2::jsonb AS same_filter
     FROM filter_voids WHERE operation_id = $1`,
    [operationId, filterJson],
  )
  return rows.map((row) => ({
    knownBeforeMs: row.known_before.getTime(),
    count: Number(row.event_count),
    reason: row.reason,
    sameFilter: row.same_filter,
  }))[0]
}

/** The first of two that begin the same operation at once stands. */
export async function insertVoid(tx: TenantTransaction, begun: NewVoid, requestedAt: Date): Promise<void> {
  await tx.query(
    `INSERT INTO filter_voids
       (tenant_id, operation_id, filter, reason, requested_by, known_before, event_count, requested_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT DO NOTHING`,
    [
      begun.operationId,
      begun.filterJson,
      begun.reason,
      begun.by,
      new Date(begun.knownBeforeMs),
      begun.count,
      requestedAt,
    ],
  )
}
