import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'

/**
 * Whether a run is to be opened for what waits for subscriptions without a further period: what came since the latest run
 * was opened, or anything once that was before a moment. What that run could not invoice would keep the next from it too.
 */
export async function isLeftWaiting(tx: TenantTransaction, lastRunBeforeMs: number): Promise<boolean> {
  const { rows } = await tx.query<{ wanted: boolean }>(
    `SELECT EXISTS (
       SELECT FROM invoice_items i
       JOIN subscriptions s ON s.tenant_id = i.tenant_id AND s.id = coalesce(i.subscription_id, (
         SELECT o.id FROM subscriptions o WHERE o.tenant_id = i.tenant_id AND o.customer_id = i.customer_id
         ORDER BY o.next_period_start IS NULL, o.id DESC LIMIT 1))
       WHERE i.invoice_id IS NULL AND i.deleted_at IS NULL AND s.next_period_start IS NULL
         AND (latest.opened_at IS NULL OR latest.opened_at <= $1 OR i.created_at >= latest.opened_at)) AS wanted
     FROM (SELECT max(opened_at) AS opened_at FROM billing_runs
           WHERE NOT dry_run AND retries_run IS NULL AND state <> 'cancelled') AS latest`,
    [new Date(lastRunBeforeMs)],
  )
  return rows[0]?.wanted === true
}
