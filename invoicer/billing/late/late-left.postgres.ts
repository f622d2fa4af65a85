import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { textArray, timeArray } from '../../array-text.ts'
import type { BillingRun } from '../run/billing-run.ts'
import type { ChangedUsage } from '../usage.ts'

/** Late usage that runs before could not bill. In the order of subjects. */
export async function listLeft(tx: TenantTransaction): Promise<ChangedUsage[]> {
  const { rows } = await tx.query<{ subject: string; first_at: Date; last_at: Date }>(
    'SELECT subject, first_at, last_at FROM late_usage_left WHERE NOT is_billed ORDER BY subject',
  )
  return rows.map((row) => ({
    subject: row.subject,
    firstMs: row.first_at.getTime(),
    lastMs: row.last_at.getTime(),
  }))
}

/** The next run looks at it again, with whatever was left before. */
export async function keepLeft(
  tx: TenantTransaction,
  run: BillingRun,
  changed: readonly ChangedUsage[],
): Promise<void> {
  if (changed.length === 0) return
  await tx.query(
    `INSERT INTO late_usage_left AS l (tenant_id, subject, first_at, last_at, known_before, is_billed)
     SELECT app_tenant(), n.subject, n.first_at, n.last_at, $4, false
     FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS n (subject, first_at, last_at) ORDER BY n.subject
     ON CONFLICT (tenant_id, subject) DO UPDATE SET is_billed = false,
       first_at = CASE WHEN l.is_billed THEN excluded.first_at ELSE least(l.first_at, excluded.first_at) END,
       last_at = CASE WHEN l.is_billed THEN excluded.last_at ELSE greatest(l.last_at, excluded.last_at) END,
       known_before = greatest(l.known_before, excluded.known_before)`,
    [...columns(changed), new Date(run.knownBeforeMs)],
  )
}

/** It is billed; but not what somebody left who knew more, or of more. */
export async function markBilled(
  tx: TenantTransaction,
  run: BillingRun,
  changed: readonly ChangedUsage[],
): Promise<void> {
  if (changed.length === 0) return
  await tx.query(
    `WITH done AS (
       SELECT l.subject FROM late_usage_left l
       JOIN unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS n (subject, first_at, last_at)
         ON l.subject = n.subject AND l.first_at >= n.first_at AND l.last_at <= n.last_at AND l.known_before <= $4
       ORDER BY l.subject FOR UPDATE OF l
     )
     UPDATE late_usage_left SET is_billed = true WHERE tenant_id = app_tenant() AND subject IN (SELECT subject FROM done)`,
    [...columns(changed), new Date(run.knownBeforeMs)],
  )
}

function columns(changed: readonly ChangedUsage[]): string[] {
  return [
    textArray(changed.map(({ subject }) => subject)),
    timeArray(changed.map(({ firstMs }) => firstMs)),
    timeArray(changed.map(({ lastMs }) => lastMs)),
  ]
}
