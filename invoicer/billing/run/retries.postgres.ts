import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'

/** The latest run that tries again what this one has parked. */
export async function findLatestRetry(
  tx: TenantTransaction,
  runId: string,
): Promise<{ id: string; hasEnded: boolean } | undefined> {
  const { rows } = await tx.query<{ id: string; has_ended: boolean }>(
    `SELECT id, completed_at IS NOT NULL AS has_ended FROM billing_runs WHERE retries_run = $1 ORDER BY id DESC LIMIT 1`,
    [runId],
  )
  const [row] = rows
  return row && { id: row.id, hasEnded: row.has_ended }
}

/** How many due periods the run has parked that nobody has billed since. */
export async function countStillParked(tx: TenantTransaction, runId: string): Promise<number> {
  const { rows } = await tx.query<{ count: number }>(
    `SELECT count(*)::integer AS count FROM parked_subscriptions k
     JOIN subscriptions s ON s.tenant_id = k.tenant_id AND s.id = k.subscription_id
     WHERE k.billing_run_id = $1 AND k.is_due AND s.next_period_start <= k.period_start`,
    [runId],
  )
  return rows[0]?.count ?? 0
}
