import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Seal } from './billing-run.ts'

/** Asks the aggregator for the seal; asking again changes nothing. */
export async function requestSeal(
  tx: TenantTransaction,
  request: { sealId: string; knownBeforeMs: number },
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO seal_requests (tenant_id, seal_id, known_before, requested_at) VALUES (app_tenant(), $1, $2, $3)
     ON CONFLICT (tenant_id, seal_id) DO NOTHING`,
    [request.sealId, new Date(request.knownBeforeMs), new Date(atMs)],
  )
}

/** The aggregator's answer, once it is there. */
export async function findSeal(tx: TenantTransaction, sealId: string): Promise<Seal | undefined> {
  const { rows } = await tx.query<{ known_before: Date; event_count: string; digest: string }>(
    'SELECT known_before, event_count, digest FROM seals WHERE seal_id = $1',
    [sealId],
  )
  const row = rows[0]
  if (row === undefined) return undefined
  return {
    id: sealId,
    knownBeforeMs: row.known_before.getTime(),
    eventCount: Number(row.event_count),
    digest: row.digest,
  }
}
