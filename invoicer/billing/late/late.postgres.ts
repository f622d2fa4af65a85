import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity } from '../../../schemas/quantity.ts'
import { idArray, plainArray, textArray, timeArray } from '../../array-text.ts'
import type { ChargeDiscounts } from '../discounts/charge-discounts.ts'
import type { NewPendingItem } from '../items/invoice-item.ts'
import type { BillingRun } from '../run/billing-run.ts'
import type { LineTerms } from '../tax/tax.ts'
import type { Span } from '../unused.ts'
import type { ChangedUsage, MeteredUsage } from '../usage.ts'

/** A charge of a period as it was billed, and what was done about it since. */
export type BilledCharge = {
  subscriptionId: string
  customerId: string
  planId: string
  chargeKey: string
  description: string
  meter: string
  currency: string
  /** The customer's. */
  zone: string
  period: Span
  invoice: { id: string; planId: string; period: Span; customerId: string }
  tax: LineTerms | null
  /** What discounts took off it; null: it has none. */
  discounts: ChargeDiscounts | null
  /** Its line with its true-up, behind discounts; adjustments since, given back or not; of those what no invoice has yet. */
  linesMinor: bigint
  adjustedMinor: bigint
  waitingMinor: bigint
  /** By what was known before this it was billed last. */
  knownBeforeMs: number
}
type BilledRow = {
  subscription_id: string
  customer_id: string
  plan_id: string
  charge_key: string
  description: string
  meter: string
  currency: string
  timezone: string
  period_start: Date
  period_end: Date
  invoice_id: string
  invoice_plan_id: string
  invoice_customer_id: string
  invoice_start: Date
  invoice_end: Date
  tax: LineTerms | null
  lines_minor: string
  adjusted_minor: string
  waiting_minor: string
  known_before: Date
}

/**
 * Billed charges that changed usage of these subjects may have changed. A level reaches into all periods behind it. A
 * one-time item may have the key of a charge, but has no meter.
 */
export async function listBilledCharges(
  tx: TenantTransaction,
  changed: readonly ChangedUsage[],
): Promise<BilledCharge[]> {
  const { rows } = await tx.query<BilledRow>(
    `WITH found AS (
       SELECT DISTINCT b.subscription_id, b.charge_key, b.meter, b.period_start
       FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS n (subject, first_at, last_at)
       JOIN customer_subjects k ON k.tenant_id = app_tenant() AND k.subject = n.subject
       JOIN billed_usage b ON b.tenant_id = app_tenant() AND b.customer_id = k.customer_id AND b.period_end > n.first_at
         AND b.void_invoice_id IS NULL
       JOIN meters m ON m.tenant_id = app_tenant() AND m.slug = b.meter
       WHERE b.period_start <= n.last_at OR m.aggregation = 'time_weighted_sum'
     )
     SELECT b.subscription_id, b.customer_id, coalesce(l.plan_id, i.plan_id) AS plan_id, b.charge_key, l.description,
       b.meter, i.currency, c.timezone, b.period_start, b.period_end, i.id AS invoice_id, i.plan_id AS invoice_plan_id,
       i.customer_id AS invoice_customer_id,
       i.period_start AS invoice_start, i.period_end AS invoice_end,
       CASE WHEN l.tax_minor IS NOT NULL THEN jsonb_build_object('ratePercent', trim_scale(l.tax_rate_percent)::text,
         'code', l.tax_code, 'reason', l.tax_reason, 'certificate', l.tax_certificate,
         'inclusive', l.tax_inclusive) END AS tax,
       (SELECT sum(o.amount_minor) FROM invoice_lines o
        WHERE o.invoice_id = b.invoice_id AND o.charge_key = b.charge_key AND o.meter = b.meter
          AND o.period_start = b.period_start
          -- What progressive invoices of the period billed is Σ billed too: it is what their line takes off here.
          AND o.breakdown -> 0 ->> 'type' IS DISTINCT FROM 'progressive') AS lines_minor,
       coalesce(a.adjusted, 0) AS adjusted_minor, coalesce(w.waiting, 0) AS waiting_minor,
       greatest(s.known_before, a.known_before, d.known_before) AS known_before
     FROM found f
     JOIN billed_usage b ON b.tenant_id = app_tenant() AND b.subscription_id = f.subscription_id
       AND b.charge_key = f.charge_key AND b.meter = f.meter AND b.period_start = f.period_start AND b.void_invoice_id IS NULL
     JOIN invoices i ON i.tenant_id = app_tenant() AND i.id = b.invoice_id AND i.state <> 'void'
     JOIN customers c ON c.tenant_id = app_tenant() AND c.id = b.customer_id
     JOIN invoice_lines l ON l.tenant_id = app_tenant() AND l.invoice_id = b.invoice_id AND l.line_index = b.line_index
     JOIN seals s ON s.tenant_id = app_tenant() AND s.seal_id = b.seal_id
     LEFT JOIN LATERAL (
       SELECT sum(amount_minor) AS adjusted, max(known_before) AS known_before FROM usage_adjustments
       WHERE subscription_id = b.subscription_id AND charge_key = b.charge_key AND period_start = b.period_start
     ) AS a ON true
     LEFT JOIN LATERAL (
       SELECT sum(amount_minor) AS waiting FROM invoice_items
       WHERE kind = 'adjustment' AND subscription_id = b.subscription_id AND charge_key = b.charge_key
         AND period_start = b.period_start AND invoice_id IS NULL
     ) AS w ON true
     LEFT JOIN LATERAL (
       SELECT max(known_before) AS known_before FROM commitment_draws
       WHERE subscription_id = b.subscription_id AND charge_key = b.charge_key AND period_start = b.period_start
     ) AS d ON true
     ORDER BY b.subscription_id, b.period_start, b.invoice_id, b.line_index`,
    [
      textArray(changed.map(({ subject }) => subject)),
      timeArray(changed.map(({ firstMs }) => firstMs)),
      timeArray(changed.map(({ lastMs }) => lastMs)),
    ],
  )
  return rows.map(billedFromRow)
}

/** Whoever issues invoices of these subscriptions, or looks for their late usage, waits. In the order of ids. */
export async function lockSubscriptions(tx: TenantTransaction, ids: readonly string[]): Promise<void> {
  await tx.query('SELECT FROM subscriptions WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE', [
    idArray([...new Set(ids)].sort()),
  ])
}

export type NewAdjustment = { id: string; charge: BilledCharge; differenceMinor: bigint; usage: MeteredUsage }

/** What charges were brought to. */
export async function insertAdjustments(
  tx: TenantTransaction,
  run: BillingRun,
  adjustments: readonly NewAdjustment[],
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO usage_adjustments
       (tenant_id, seal_id, known_before, created_at, id, subscription_id, plan_id, charge_key, meter, period_start,
        period_end, amount_minor, currency, quantity, event_count, digest)
     SELECT app_tenant(), $1, $2, $3, n.*
     FROM unnest($4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[], $9::timestamptz[], $10::timestamptz[],
       $11::bigint[], $12::text[], $13::numeric[], $14::bigint[], $15::numeric[]) AS n`,
    [
      ...[run.sealId, new Date(run.knownBeforeMs), new Date(atMs)],
      idArray(adjustments.map(({ id }) => id)),
      idArray(adjustments.map(({ charge }) => charge.subscriptionId)),
      idArray(adjustments.map(({ charge }) => charge.planId)),
      textArray(adjustments.map(({ charge }) => charge.chargeKey)),
      textArray(adjustments.map(({ charge }) => charge.meter)),
      timeArray(adjustments.map(({ charge }) => charge.period.startMs)),
      timeArray(adjustments.map(({ charge }) => charge.period.endMs)),
      plainArray(adjustments.map(({ differenceMinor }) => differenceMinor)),
      textArray(adjustments.map(({ charge }) => charge.currency)),
      plainArray(adjustments.map(({ usage }) => formatQuantity(usage.quantity))),
      plainArray(adjustments.map(({ usage }) => usage.events)),
      plainArray(adjustments.map(({ usage }) => usage.digest)),
    ],
  )
}

/** Corrections that wait for the next invoice of their subscription. */
export async function insertCorrections(
  tx: TenantTransaction,
  items: readonly { adjustmentId: string; item: NewPendingItem }[],
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO invoice_items
       (tenant_id, kind, created_at, id, adjustment_id, customer_id, subscription_id, charge_key, description,
        amount_minor, currency, plan_id, meter, period_start, period_end, tax, breakdown)
     SELECT app_tenant(), 'adjustment', $1, n.id, n.adjustment_id, n.customer_id, n.subscription_id, n.charge_key,
       n.description, n.amount, n.currency, n.plan_id, n.meter, n.period_start, n.period_end, nullif(n.tax, 'null'),
       n.breakdown
     FROM ROWS FROM (
       unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::bigint[], $9::text[],
         $10::uuid[], $11::text[], $12::timestamptz[], $13::timestamptz[]),
       jsonb_array_elements($14::jsonb), jsonb_array_elements($15::jsonb)
     ) AS n (id, adjustment_id, customer_id, subscription_id, charge_key, description, amount, currency, plan_id, meter,
       period_start, period_end, tax, breakdown)`,
    [
      new Date(atMs),
      idArray(items.map(({ item }) => item.id)),
      idArray(items.map(({ adjustmentId }) => adjustmentId)),
      idArray(items.map(({ item }) => item.customerId)),
      idArray(items.map(({ item }) => item.subscriptionId)),
      textArray(items.map(({ item }) => item.chargeKey)),
      textArray(items.map(({ item }) => item.description)),
      plainArray(items.map(({ item }) => item.amountMinor)),
      textArray(items.map(({ item }) => item.currency)),
      idArray(items.map(({ item }) => item.corrects?.planId)),
      textArray(items.map(({ item }) => item.corrects?.meter ?? null)),
      timeArray(items.map(({ item }) => item.corrects?.period.startMs)),
      timeArray(items.map(({ item }) => item.corrects?.period.endMs)),
      JSON.stringify(items.map(({ item }) => item.corrects?.tax ?? null)),
      JSON.stringify(items.map(({ item }) => item.breakdown)),
    ],
  )
}

/** A line that billed a charge: the invoice's own, or one of its corrections'. */
export type ChargeLine = { invoiceId: string; lineIndex: number }

/** The lines that billed each of the charges, in the order of these; those of the newest invoice first. */
export async function listChargeLines(
  tx: TenantTransaction,
  billed: readonly { charge: BilledCharge }[],
): Promise<ChargeLine[][]> {
  const charges = billed.map(({ charge }) => charge)
  const { rows } = await tx.query<{ place: number; invoice_id: string; line_index: number }>(
    `SELECT c.place::integer AS place, n.invoice_id, n.line_index
     FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::uuid[], $5::text[]) WITH ORDINALITY
       AS c (subscription_id, charge_key, period_start, invoice_id, meter, place)
     CROSS JOIN LATERAL (
       SELECT invoice_id, line_index FROM invoice_lines
       WHERE invoice_id = c.invoice_id AND charge_key = c.charge_key AND meter = c.meter AND period_start = c.period_start
       UNION
       SELECT invoice_id, line_index FROM invoice_items
       WHERE kind = 'adjustment' AND subscription_id = c.subscription_id AND charge_key = c.charge_key
         AND period_start = c.period_start AND invoice_id IS NOT NULL
       UNION
       SELECT p.invoice_id, p.line_index FROM progressive_invoices g
       JOIN invoice_lines p ON p.tenant_id = g.tenant_id AND p.invoice_id = g.invoice_id AND p.charge_key = c.charge_key
         AND p.meter = c.meter AND p.period_start = c.period_start
       WHERE g.subscription_id = c.subscription_id
     ) AS n
     JOIN invoices i ON i.tenant_id = app_tenant() AND i.id = n.invoice_id AND i.state <> 'void'
     ORDER BY c.place, i.finalised_at DESC, i.id DESC, n.line_index`,
    [
      idArray(charges.map(({ subscriptionId }) => subscriptionId)),
      textArray(charges.map(({ chargeKey }) => chargeKey)),
      timeArray(charges.map(({ period }) => period.startMs)),
      idArray(charges.map(({ invoice }) => invoice.id)),
      textArray(charges.map(({ meter }) => meter)),
    ],
  )
  const linesOf = charges.map((): ChargeLine[] => [])
  for (const row of rows) linesOf[row.place - 1]?.push({ invoiceId: row.invoice_id, lineIndex: row.line_index })
  return linesOf
}

function billedFromRow(row: BilledRow): BilledCharge {
  return {
    subscriptionId: row.subscription_id,
    customerId: row.customer_id,
    planId: row.plan_id,
    chargeKey: row.charge_key,
    description: row.description,
    meter: row.meter,
    currency: row.currency,
    zone: row.timezone,
    period: { startMs: row.period_start.getTime(), endMs: row.period_end.getTime() },
    invoice: {
      id: row.invoice_id,
      planId: row.invoice_plan_id,
      customerId: row.invoice_customer_id,
      period: { startMs: row.invoice_start.getTime(), endMs: row.invoice_end.getTime() },
    },
    tax: row.tax,
    discounts: null,
    linesMinor: BigInt(row.lines_minor),
    adjustedMinor: BigInt(row.adjusted_minor),
    waitingMinor: BigInt(row.waiting_minor),
    knownBeforeMs: row.known_before.getTime(),
  }
}
