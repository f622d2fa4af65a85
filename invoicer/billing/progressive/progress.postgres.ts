import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, timeArray } from '../../array-text.ts'
import type { NewInvoice } from '../invoices/rated-invoice.ts'
import type { BilledProgress } from './progress.ts'

export type ProgressRow = Omit<BilledProgress, 'grossMinor' | 'netMinor'> & { grossMinor: string; netMinor: string }

/** To whom the invoice `i` of a subscription of the customer `c` was issued, where somebody else pays by now; else null. */
export const FORMER_PAYER = `
  CASE WHEN i.customer_id <> coalesce(c.payer_id, c.id) THEN (
    SELECT o.external_key FROM customers o WHERE o.tenant_id = i.tenant_id AND o.id = i.customer_id) END`

/**
 * What the latest progressive invoices of the subscription `s` brought charges to, in periods that have no invoice of their
 * own, or get one again. Nothing is looked for where the tenant never had one.
 */
export const PROGRESS = `
  CASE WHEN (SELECT EXISTS (SELECT FROM progressive_invoices)) THEN (
    SELECT jsonb_agg(jsonb_build_object('invoiceId', g.invoice_id, 'planId', coalesce(l.plan_id, i.plan_id),
        'chargeKey', l.charge_key, 'meter', l.meter, 'description', l.description,
        'periodStartMs', (extract(epoch FROM g.period_start) * 1000)::bigint,
        'served', jsonb_build_object('startMs', (extract(epoch FROM l.period_start) * 1000)::bigint,
                                     'endMs', (extract(epoch FROM l.period_end) * 1000)::bigint),
        'grossMinor', l.amount_minor::text,
        'netMinor', (l.amount_minor + (SELECT coalesce(sum(d.amount_minor), 0) FROM invoice_lines d
          WHERE d.tenant_id = l.tenant_id AND d.invoice_id = l.invoice_id AND d.lowers_line = l.line_index))::text,
        'tax', CASE WHEN l.tax_minor IS NOT NULL THEN jsonb_build_object('ratePercent', trim_scale(l.tax_rate_percent)::text,
          'code', l.tax_code, 'reason', l.tax_reason, 'certificate', l.tax_certificate, 'inclusive', l.tax_inclusive) END,
        'sellerId', i.legal_entity_id, 'formerPayer', ${FORMER_PAYER}) ORDER BY g.period_start, l.line_index)
    FROM progressive_invoices g
    JOIN invoices i ON i.tenant_id = g.tenant_id AND i.id = g.invoice_id AND i.state <> 'void'
    JOIN billed_usage u ON u.tenant_id = g.tenant_id AND u.invoice_id = g.invoice_id
    JOIN invoice_lines l ON l.tenant_id = u.tenant_id AND l.invoice_id = u.invoice_id AND l.line_index = u.line_index
    WHERE g.tenant_id = s.tenant_id AND g.subscription_id = s.id AND g.period_start >= coalesce((
        SELECT min(a.period_start) FROM periods_to_bill_again a
        WHERE a.tenant_id = s.tenant_id AND a.subscription_id = s.id AND a.invoice_id IS NULL), s.next_period_start)
      AND NOT EXISTS (
        SELECT FROM progressive_invoices n JOIN invoices v ON v.tenant_id = n.tenant_id AND v.id = n.invoice_id
        WHERE n.tenant_id = g.tenant_id AND n.subscription_id = g.subscription_id AND n.period_start = g.period_start
          AND n.ordinal > g.ordinal AND v.state <> 'void')) END`

export function progressFromRow(row: ProgressRow): BilledProgress {
  return { ...row, grossMinor: BigInt(row.grossMinor), netMinor: BigInt(row.netMinor) }
}

export type Threshold = { subscriptionId: string; thresholdMinor: bigint }

/**
 * Thresholds of subscriptions whose next period runs at an instant: it has begun and is not over. Those that the run, or
 * any since `parkedSinceMs`, has parked are left out. In the order of ids.
 */
export async function listThresholds(
  tx: TenantTransaction,
  of: { asOfMs: number; runId: string | null; parkedSinceMs: number | null },
  page: { after: string | null; limit: number },
): Promise<Threshold[]> {
  const { rows } = await tx.query<{ subscription_id: string; threshold_minor: string }>(
    `SELECT g.subscription_id, g.threshold_minor FROM progressive_billing g
     JOIN subscriptions s ON s.tenant_id = g.tenant_id AND s.id = g.subscription_id
     WHERE s.next_period_start <= $1 AND s.next_period_end > $1 AND ($2::uuid IS NULL OR g.subscription_id > $2)
       AND NOT EXISTS (SELECT FROM parked_subscriptions k
                       WHERE k.tenant_id = g.tenant_id AND k.subscription_id = g.subscription_id
                         AND (k.billing_run_id = $3 OR k.parked_at >= $4))
     ORDER BY g.subscription_id LIMIT $5`,
    [
      new Date(of.asOfMs),
      page.after,
      of.runId,
      of.parkedSinceMs === null ? null : new Date(of.parkedSinceMs),
      page.limit,
    ],
  )
  return rows.map((row) => ({ subscriptionId: row.subscription_id, thresholdMinor: BigInt(row.threshold_minor) }))
}

/** Meters that say how high something stands: what they come to is known when the period is over. */
export async function listLevels(tx: TenantTransaction): Promise<Set<string>> {
  const { rows } = await tx.query<{ slug: string }>("SELECT slug FROM meters WHERE aggregation = 'time_weighted_sum'")
  return new Set(rows.map(({ slug }) => slug))
}

/** Behind their lines and usage. */
export async function insertProgressive(tx: TenantTransaction, invoices: readonly NewInvoice[]): Promise<void> {
  const own = invoices.filter(({ progressive }) => progressive === true)
  if (own.length === 0) return
  const ids = idArray(own.map(({ id }) => id))
  await tx.query('UPDATE billed_usage SET void_invoice_id = invoice_id WHERE invoice_id = ANY ($1::uuid[])', [ids])
  await tx.query(
    `INSERT INTO progressive_invoices (tenant_id, invoice_id, subscription_id, period_start, revision, ordinal)
     SELECT app_tenant(), n.*, 1 + (
       SELECT coalesce(max(g.ordinal), 0) FROM progressive_invoices g
       WHERE g.subscription_id = n.subscription_id AND g.period_start = n.period_start)
     FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::integer[])
       AS n (invoice_id, subscription_id, period_start, revision)`,
    [
      ids,
      idArray(own.map(({ subscription }) => subscription.id)),
      timeArray(own.map(({ period }) => period.startMs)),
      plainArray(own.map(({ subscription }) => subscription.revision)),
    ],
  )
}

/** The subscription of a progressive invoice; undefined: it is none. */
export async function progressiveSubscription(tx: TenantTransaction, invoiceId: string): Promise<string | undefined> {
  const { rows } = await tx.query<{ subscription_id: string }>(
    'SELECT subscription_id FROM progressive_invoices WHERE invoice_id = $1',
    [invoiceId],
  )
  return rows[0]?.subscription_id
}

/**
 * Whether a later progressive invoice of its period, or the period's own, has less because of one of these. What is among
 * them itself counts on nothing: they become void together.
 */
export async function isProgressCountedOn(tx: TenantTransaction, invoiceIds: readonly string[]): Promise<boolean> {
  const { rows } = await tx.query<{ counted_on: boolean }>(
    `SELECT EXISTS (
       SELECT FROM progressive_invoices g
       JOIN invoices i ON i.tenant_id = g.tenant_id AND i.subscription_id = g.subscription_id AND i.state <> 'void'
         AND i.id <> ALL ($1::uuid[])
       LEFT JOIN progressive_invoices n ON n.tenant_id = i.tenant_id AND n.invoice_id = i.id
       WHERE g.invoice_id = ANY ($1::uuid[]) AND ((NOT i.off_cycle AND i.period_start = g.period_start)
         OR (n.period_start = g.period_start AND n.ordinal > g.ordinal))) AS counted_on`,
    [idArray(invoiceIds)],
  )
  return rows[0]?.counted_on === true
}

/**
 * Whether what one of these takes off, or what takes off for it, stands on an invoice of another legal entity, which billed
 * that before (by-seller.ts). Such an invoice names a progressive one of the same period, and is itself none.
 */
export async function isProgressSplit(tx: TenantTransaction, invoiceIds: readonly string[]): Promise<boolean> {
  const { rows } = await tx.query<{ split: boolean }>(
    `SELECT EXISTS (
       SELECT FROM invoices i
       JOIN invoices o ON o.tenant_id = i.tenant_id AND o.subscription_id = i.subscription_id
         AND o.billing_run_id = i.billing_run_id AND o.off_cycle AND o.state <> 'void'
       JOIN invoice_lines l ON l.tenant_id = o.tenant_id AND l.invoice_id = o.id
         AND l.breakdown -> 0 ->> 'type' = 'progressive'
       JOIN progressive_invoices g ON g.tenant_id = l.tenant_id AND g.invoice_id = (l.breakdown -> 0 ->> 'invoice_id')::uuid
       WHERE i.id = ANY ($1::uuid[]) AND (o.id = i.id OR i.period_start = g.period_start)
         AND NOT EXISTS (SELECT FROM progressive_invoices n WHERE n.tenant_id = o.tenant_id AND n.invoice_id = o.id)
     ) AS split`,
    [idArray(invoiceIds)],
  )
  return rows[0]?.split === true
}
