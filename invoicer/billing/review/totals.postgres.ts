import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Anomaly } from './rules.ts'

/** Of one currency. New: without a period before. Gone: billed before, and nothing comes any more. */
export type ReviewTotals = {
  currency: string
  amountMinor: bigint
  previousMinor: bigint
  invoices: number
  newSubscriptions: number
  gone: number
  parked: number
}

export async function sumDrafts(tx: TenantTransaction, runId: string): Promise<ReviewTotals[]> {
  const { rows } = await tx.query<{
    currency: string
    amount: string
    previous: string
    invoices: number
    fresh: number
    gone: number
    parked: number
  }>(
    `SELECT currency, sum(amount_minor)::text AS amount, sum(coalesce(previous_minor, 0))::text AS previous,
       (count(*) FILTER (WHERE kind = 'invoice'))::integer AS invoices,
       (count(*) FILTER (WHERE kind = 'invoice' AND NOT off_cycle AND previous_minor IS NULL))::integer AS fresh,
       (count(*) FILTER (WHERE kind = 'missing'))::integer AS gone,
       (count(*) FILTER (WHERE kind = 'parked'))::integer AS parked
     FROM billing_run_drafts WHERE billing_run_id = $1 GROUP BY currency ORDER BY currency`,
    [runId],
  )
  return rows.map((row) => ({
    currency: row.currency,
    amountMinor: BigInt(row.amount),
    previousMinor: BigInt(row.previous),
    invoices: row.invoices,
    newSubscriptions: row.fresh,
    gone: row.gone,
    parked: row.parked,
  }))
}

/** How many drafts of a run have which anomaly. */
export async function countAnomalies(tx: TenantTransaction, runId: string): Promise<Map<Anomaly, number>> {
  const { rows } = await tx.query<{ anomaly: Anomaly; drafts: number }>(
    `SELECT a.anomaly, count(*)::integer AS drafts
     FROM billing_run_drafts d, unnest(d.anomalies) AS a (anomaly)
     WHERE d.billing_run_id = $1 GROUP BY a.anomaly ORDER BY a.anomaly`,
    [runId],
  )
  return new Map(rows.map(({ anomaly, drafts }) => [anomaly, drafts]))
}
