import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

export type SealRequest = { sealId: string; knownBeforeMs: number }
export type Seal = SealRequest & { logOffsets: Record<string, number[]>; eventCount: string; digest: string }

/** Requests without an answer, oldest first. */
export async function openSealRequests(tx: TenantTransaction): Promise<SealRequest[]> {
  const { rows } = await tx.query<{ seal_id: string; known_before: Date }>(
    `SELECT seal_id, known_before FROM seal_requests
     WHERE NOT EXISTS (SELECT FROM seals WHERE seals.tenant_id = seal_requests.tenant_id AND seals.seal_id = seal_requests.seal_id)
     ORDER BY requested_at`,
  )
  return rows.map((row) => ({ sealId: row.seal_id, knownBeforeMs: row.known_before.getTime() }))
}

/** The log that events are written to, if it is none of these, which were once. */
export async function logBeside(tx: TenantTransaction, topics: readonly string[]): Promise<string | undefined> {
  const { rows } = await tx.query<{ topic: string }>(
    `SELECT topic FROM event_logs
     WHERE active AND topic <> ALL ($1) AND EXISTS (SELECT FROM event_logs WHERE topic = ANY ($1))`,
    [topics],
  )
  return rows[0]?.topic
}

/** The first answer stands: a second aggregator with the same W would have found the same. */
export async function insertSeal(tx: TenantTransaction, seal: Seal, sealedAt: Date): Promise<void> {
  await tx.query(
    `INSERT INTO seals (tenant_id, seal_id, known_before, log_offsets, event_count, digest, sealed_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6)
     ON CONFLICT (tenant_id, seal_id) DO NOTHING`,
    [
      seal.sealId,
      new Date(seal.knownBeforeMs),
      JSON.stringify(seal.logOffsets),
      seal.eventCount,
      seal.digest,
      sealedAt,
    ],
  )
}

/** The seal that was made last. */
export async function lastSeal(tx: TenantTransaction): Promise<(Seal & { sealedAtMs: number }) | undefined> {
  const { rows } = await tx.query<{
    seal_id: string
    known_before: Date
    log_offsets: Record<string, number[]>
    event_count: string
    digest: string
    sealed_at: Date
  }>(
    `SELECT seal_id, known_before, log_offsets, event_count::text, digest::text, sealed_at
     FROM seals ORDER BY sealed_at DESC, seal_id DESC LIMIT 1`,
  )
  return rows.map((row) => ({
    sealId: row.seal_id,
    knownBeforeMs: row.known_before.getTime(),
    logOffsets: row.log_offsets,
    eventCount: row.event_count,
    digest: row.digest,
    sealedAtMs: row.sealed_at.getTime(),
  }))[0]
}
