import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { BillingRunReport, RunState } from './billing-run.ts'
import { countDue } from './due.postgres.ts'
import { RUN_COLUMNS, type RunRow, runFromRow } from './runs.postgres.ts'

type ReportRow = RunRow & {
  opened_at: Date
  completed_at: Date | null
  is_drafted: boolean
  approved_by: string | null
  cancelled_by: string | null
  billing_since: Date | null
  invoices_created: number
  last_invoice_at: Date | null
  parked_count: number
  sealed_before: Date | null
  event_count: string | null
  digest: string | null
  parked: { subscriptionId: string; reason: string }[]
}

/** A report lists at most so many parked subscriptions. */
const PARKED_SHOWN = 1000

/** Parked by run `r`, and not billed since by whichever run. */
const STILL_PARKED = `
  FROM parked_subscriptions k JOIN subscriptions s ON s.tenant_id = k.tenant_id AND s.id = k.subscription_id
  WHERE k.tenant_id = r.tenant_id AND k.billing_run_id = r.id AND (NOT k.is_due OR s.next_period_start <= k.period_start)`

const REPORT = `
  SELECT ${RUN_COLUMNS}, r.opened_at, r.completed_at,
    coalesce(r.review_part = 'done', false) AS is_drafted, r.approved_by, r.cancelled_by, r.billing_since,
    s.known_before AS sealed_before, s.event_count, s.digest, i.invoices_created, i.last_invoice_at,
    (SELECT count(*)::integer ${STILL_PARKED}) AS parked_count,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('subscriptionId', p.subscription_id, 'reason', p.reason)), '[]')
     FROM (SELECT k.subscription_id, k.reason ${STILL_PARKED} ORDER BY k.subscription_id LIMIT $1) p) AS parked
  FROM billing_runs r
  LEFT JOIN seals s ON s.tenant_id = r.tenant_id AND s.seal_id = r.seal_id
  CROSS JOIN LATERAL (
    SELECT (count(*) FILTER (WHERE i.number IS NOT NULL))::integer AS invoices_created, max(i.finalised_at) AS last_invoice_at
    FROM invoices i WHERE i.tenant_id = r.tenant_id AND i.billing_run_id = r.id) i`

export async function findRunReport(tx: TenantTransaction, id: string): Promise<BillingRunReport | undefined> {
  const { rows } = await tx.query<ReportRow>(`${REPORT} WHERE r.id = $2`, [PARKED_SHOWN, idOrNull(id)])
  const [row] = rows
  return row && withLeft(tx, toReport(row))
}

/** The latest first. */
export async function listRunReports(
  tx: TenantTransaction,
  state: RunState | null,
  page: Page,
): Promise<BillingRunReport[]> {
  const { rows } = await tx.query<ReportRow>(
    `${REPORT} WHERE ($2::text IS NULL OR r.state = $2) AND ($3::uuid IS NULL OR r.id < $3) ORDER BY r.id DESC LIMIT $4`,
    [PARKED_SHOWN, state, page.after, page.limit],
  )
  const reports: BillingRunReport[] = []
  for (const row of rows) reports.push(await withLeft(tx, toReport(row)))
  return reports
}

async function withLeft(tx: TenantTransaction, report: BillingRunReport): Promise<BillingRunReport> {
  if (report.endedAtMs !== null) return report
  return { ...report, subscriptionsLeft: await countDue(tx, report.asOfMs, report.id, report.retriesRun) }
}

function toReport(row: ReportRow): BillingRunReport {
  const { sealed_before: sealedBefore, event_count: eventCount, digest } = row
  const seal =
    sealedBefore === null || eventCount === null || digest === null
      ? null
      : { id: row.seal_id, knownBeforeMs: sealedBefore.getTime(), eventCount: Number(eventCount), digest }
  return {
    ...runFromRow(row),
    seal,
    openedAtMs: row.opened_at.getTime(),
    endedAtMs: row.completed_at === null ? null : row.completed_at.getTime(),
    isDrafted: row.is_drafted,
    approvedBy: row.approved_by,
    cancelledBy: row.cancelled_by,
    subscriptionsLeft: null,
    invoicesCreated: row.invoices_created,
    billingSinceMs: row.billing_since === null ? null : row.billing_since.getTime(),
    lastInvoiceMs: row.last_invoice_at === null ? null : row.last_invoice_at.getTime(),
    parkedCount: row.parked_count,
    parked: row.parked,
  }
}
