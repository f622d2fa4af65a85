import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray } from '../../array-text.ts'
import type { Page } from '../../transaction.ts'
import type { JudgedDraft, Standing } from './draft.ts'
import type { Anomaly } from './rules.ts'

/** Of subscriptions that have a period to bill. */
export async function listStandings(
  tx: TenantTransaction,
  subscriptionIds: readonly string[],
): Promise<Map<string, Standing>> {
  const { rows } = await tx.query<{ id: string; currency: string; total_minor: string | null; has_fees: boolean }>(
    `SELECT s.id, c.currency, i.total_minor,
       EXISTS (SELECT FROM billed_fees f JOIN invoices b ON b.tenant_id = f.tenant_id AND b.id = f.invoice_id
               WHERE f.tenant_id = s.tenant_id AND f.subscription_id = s.id AND b.state NOT IN ('draft', 'void')) AS has_fees
     FROM subscriptions s
     JOIN customers c ON c.tenant_id = s.tenant_id AND c.id = s.customer_id
     LEFT JOIN LATERAL (
       SELECT i.total_minor FROM invoices i
       WHERE i.tenant_id = s.tenant_id AND i.subscription_id = s.id AND NOT i.off_cycle
         AND i.state NOT IN ('draft', 'void') AND i.currency = c.currency AND i.period_start < s.next_period_start
       ORDER BY i.period_start DESC LIMIT 1) i ON true
     WHERE s.id = ANY ($1::uuid[])`,
    [idArray([...new Set(subscriptionIds)])],
  )
  return new Map(
    rows.map(({ id, currency, total_minor: total, has_fees: hasFees }) => [
      id,
      { currency, previousMinor: total === null ? null : BigInt(total), hasFees },
    ]),
  )
}

/** Who has an invoice among the drafts of a run. */
export type Served = { customerIds: ReadonlySet<string>; subscriptionIds: ReadonlySet<string> }

/** Those of the customers, and of their subscriptions. */
export async function listDrafted(
  tx: TenantTransaction,
  runId: string,
  customerIds: readonly string[],
): Promise<Served> {
  const { rows } = await tx.query<{ customer_id: string; subscription_id: string }>(
    `SELECT DISTINCT d.customer_id, d.subscription_id FROM subscriptions s
     JOIN billing_run_drafts d ON d.tenant_id = s.tenant_id AND d.billing_run_id = $1 AND d.subscription_id = s.id
     WHERE s.customer_id = ANY ($2::uuid[]) AND d.kind = 'invoice'`,
    [runId, idArray([...new Set(customerIds)])],
  )
  return {
    customerIds: new Set(rows.map((row) => row.customer_id)),
    subscriptionIds: new Set(rows.map((row) => row.subscription_id)),
  }
}

/** Whether a run has a draft of whichever kind. */
export async function hasDrafts(tx: TenantTransaction, runId: string): Promise<boolean> {
  const { rowCount } = await tx.query('SELECT FROM billing_run_drafts WHERE billing_run_id = $1 LIMIT 1', [runId])
  return rowCount === 1
}

/** So many in a statement: of subscriptions with many due periods one place may have very many. */
const DRAFTS_AT_ONCE = 1_000

export async function insertDrafts(
  tx: TenantTransaction,
  runId: string,
  drafts: readonly (JudgedDraft & { id: string })[],
): Promise<void> {
  for (let from = 0; from < drafts.length; from += DRAFTS_AT_ONCE) {
    await insertSome(tx, runId, drafts.slice(from, from + DRAFTS_AT_ONCE))
  }
}

async function insertSome(
  tx: TenantTransaction,
  runId: string,
  drafts: readonly (JudgedDraft & { id: string })[],
): Promise<void> {
  const instant = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString())
  await tx.query(
    `INSERT INTO billing_run_drafts
       (tenant_id, billing_run_id, id, kind, subscription_id, customer_id, currency, period_start, period_end, off_cycle,
        line_count, amount_minor, previous_minor, change_minor, anomalies, reason)
     SELECT app_tenant(), $1, n.id, n.kind, n.subscription_id, n.customer_id, n.currency, n.period_start, n.period_end,
       n.off_cycle, n.line_count, n.amount_minor, n.previous_minor,
       n.amount_minor::numeric - coalesce(n.previous_minor, 0), n.anomalies, n.reason
     FROM jsonb_to_recordset($2::jsonb) AS n (id uuid, kind text, subscription_id uuid, customer_id uuid, currency text,
       period_start timestamptz, period_end timestamptz, off_cycle boolean, line_count integer, amount_minor bigint,
       previous_minor bigint, anomalies text[], reason text)`,
    [
      runId,
      JSON.stringify(
        drafts.map((draft) => ({
          id: draft.id,
          kind: draft.kind,
          subscription_id: draft.subscriptionId,
          customer_id: draft.customerId,
          currency: draft.currency,
          period_start: instant(draft.periodStartMs),
          period_end: instant(draft.periodEndMs),
          off_cycle: draft.offCycle,
          line_count: draft.lineCount,
          amount_minor: draft.amountMinor.toString(),
          previous_minor: draft.previousMinor?.toString() ?? null,
          anomalies: draft.anomalies,
          reason: draft.reason,
        })),
      ),
    ],
  )
}

/** A draft with names, and what became of it: the total of the invoice that the run has issued, null if none. */
export type StoredDraft = JudgedDraft & {
  id: string
  subscription: string
  customer: string
  changeMinor: bigint
  issuedMinor: bigint | null
}
export type DraftFilter = { onlyAnomalies: boolean; kind: string | null; currency: string | null }
type DraftRow = {
  id: string
  kind: StoredDraft['kind']
  subscription_id: string
  subscription: string
  customer_id: string
  customer: string
  currency: string
  period_start: Date
  period_end: Date | null
  off_cycle: boolean
  line_count: number
  amount_minor: string
  previous_minor: string | null
  change_minor: string
  anomalies: Anomaly[]
  reason: string | null
  issued_minor: string | null
}

/** The largest changes first, up or down. */
export async function listDrafts(
  tx: TenantTransaction,
  runId: string,
  filter: DraftFilter,
  page: Page,
): Promise<StoredDraft[]> {
  const { rows } = await tx.query<DraftRow>(
    `SELECT d.id, d.kind, d.subscription_id, s.external_key AS subscription, d.customer_id, c.external_key AS customer,
       d.currency, d.period_start, d.period_end, d.off_cycle, d.line_count, d.amount_minor, d.previous_minor,
       d.change_minor, d.anomalies, d.reason,
       (SELECT i.total_minor FROM invoices i
        WHERE i.tenant_id = d.tenant_id AND i.subscription_id = d.subscription_id AND i.billing_run_id = d.billing_run_id
          AND i.period_start = d.period_start AND NOT i.off_cycle AND NOT d.off_cycle
        ORDER BY i.id LIMIT 1) AS issued_minor
     FROM billing_run_drafts d
     JOIN subscriptions s ON s.tenant_id = d.tenant_id AND s.id = d.subscription_id
     JOIN customers c ON c.tenant_id = d.tenant_id AND c.id = d.customer_id
     WHERE d.billing_run_id = $1 AND (NOT $2 OR d.anomalies <> '{}') AND ($3::text IS NULL OR d.kind = $3)
       AND ($4::text IS NULL OR d.currency = $4)
       AND ($5::uuid IS NULL OR (-abs(d.change_minor), d.id) > (
         SELECT -abs(a.change_minor), a.id FROM billing_run_drafts a WHERE a.id = $5))
     ORDER BY -abs(d.change_minor), d.id LIMIT $6`,
    [runId, filter.onlyAnomalies, filter.kind, filter.currency, page.after, page.limit],
  )
  return rows.map(fromRow)
}

function fromRow(row: DraftRow): StoredDraft {
  return {
    id: row.id,
    kind: row.kind,
    subscriptionId: row.subscription_id,
    subscription: row.subscription,
    customerId: row.customer_id,
    customer: row.customer,
    currency: row.currency,
    periodStartMs: row.period_start.getTime(),
    periodEndMs: row.period_end === null ? null : row.period_end.getTime(),
    offCycle: row.off_cycle,
    lineCount: row.line_count,
    amountMinor: BigInt(row.amount_minor),
    previousMinor: row.previous_minor === null ? null : BigInt(row.previous_minor),
    changeMinor: BigInt(row.change_minor),
    anomalies: row.anomalies,
    reason: row.reason,
    issuedMinor: row.issued_minor === null ? null : BigInt(row.issued_minor),
  }
}
