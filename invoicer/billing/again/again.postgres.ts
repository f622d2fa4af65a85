import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray } from '../../array-text.ts'
import type { Span } from '../unused.ts'

/** A period whose invoice was voided to be issued anew. */
export type AgainPeriod = { voidInvoiceId: string; subscriptionId: string; period: Span }

/**
 * Puts a period back to be billed by the next run. False if it was before, or has an invoice that is not void: whoever
 * asks holds the subscription's lock, so that none comes in between.
 */
export async function askAgain(tx: TenantTransaction, again: AgainPeriod, atMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO periods_to_bill_again
       (tenant_id, void_invoice_id, subscription_id, period_start, period_end, asked_at)
     SELECT app_tenant(), $1, $2, $3, $4, $5
     WHERE NOT EXISTS (SELECT FROM invoices i WHERE i.subscription_id = $2 AND i.period_start = $3 AND NOT i.off_cycle
                       AND i.voided_at IS NULL)
     ON CONFLICT DO NOTHING`,
    [
      again.voidInvoiceId,
      again.subscriptionId,
      new Date(again.period.startMs),
      new Date(again.period.endMs),
      new Date(atMs),
    ],
  )
  return rowCount === 1
}

/**
 * The periods that a run bills again: of each subscription the first, if the run knows all that was known when it was asked
 * for, and has not parked the subscription. In the order of subscriptions.
 */
export async function listAgain(
  tx: TenantTransaction,
  run: { id: string; asOfMs: number; knownBeforeMs: number },
  page: { after: string | null; limit: number },
): Promise<AgainPeriod[]> {
  const { rows } = await tx.query<{
    void_invoice_id: string
    subscription_id: string
    period_start: Date
    period_end: Date
  }>(
    `SELECT DISTINCT ON (a.subscription_id) a.void_invoice_id, a.subscription_id, a.period_start, a.period_end
     FROM periods_to_bill_again a
     WHERE a.invoice_id IS NULL AND a.period_end <= $1 AND a.asked_at < $2 AND ($3::uuid IS NULL OR a.subscription_id > $3)
       AND NOT EXISTS (SELECT FROM parked_subscriptions k
                       WHERE k.tenant_id = a.tenant_id AND k.billing_run_id = $4 AND k.subscription_id = a.subscription_id)
     ORDER BY a.subscription_id, a.period_start LIMIT $5`,
    [new Date(run.asOfMs), new Date(run.knownBeforeMs), page.after, run.id, page.limit],
  )
  return rows.map((row) => ({
    voidInvoiceId: row.void_invoice_id,
    subscriptionId: row.subscription_id,
    period: { startMs: row.period_start.getTime(), endMs: row.period_end.getTime() },
  }))
}

/** Says which invoices take the place of void ones, and answers those: the others were billed by somebody else. */
export async function claimAgain(
  tx: TenantTransaction,
  places: readonly { voidInvoiceId: string; invoiceId: string }[],
): Promise<Set<string>> {
  const { rows } = await tx.query<{ invoice_id: string }>(
    `WITH claimed AS (
       SELECT a.void_invoice_id, n.invoice_id
       FROM unnest($1::uuid[], $2::uuid[]) AS n (void_invoice_id, invoice_id)
       JOIN periods_to_bill_again a ON a.tenant_id = app_tenant() AND a.void_invoice_id = n.void_invoice_id
         AND a.invoice_id IS NULL
       ORDER BY a.void_invoice_id FOR NO KEY UPDATE OF a
     )
     UPDATE periods_to_bill_again a SET invoice_id = c.invoice_id
     FROM claimed c WHERE a.tenant_id = app_tenant() AND a.void_invoice_id = c.void_invoice_id
     RETURNING a.invoice_id`,
    [idArray(places.map(({ voidInvoiceId }) => voidInvoiceId)), idArray(places.map(({ invoiceId }) => invoiceId))],
  )
  return new Set(rows.map((row) => row.invoice_id))
}

/** Whether a run is to be opened for them: for what was asked since the latest run, or anything once that is long ago. */
export async function isAgainWaiting(tx: TenantTransaction, lastRunBeforeMs: number): Promise<boolean> {
  const { rows } = await tx.query<{ wanted: boolean }>(
    `SELECT EXISTS (
       SELECT FROM periods_to_bill_again a
       WHERE a.invoice_id IS NULL
         AND (latest.opened_at IS NULL OR latest.opened_at <= $1 OR a.asked_at >= latest.opened_at)) AS wanted
     FROM (SELECT max(opened_at) AS opened_at FROM billing_runs
           WHERE NOT dry_run AND retries_run IS NULL AND state <> 'cancelled') AS latest`,
    [new Date(lastRunBeforeMs)],
  )
  return rows[0]?.wanted === true
}
