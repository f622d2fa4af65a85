import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Phase } from '../../agreements/subscriptions/phases.ts'
import type { Recurrence } from '../../agreements/subscriptions/subscription.ts'
import { phaseExtras } from '../../agreements/subscriptions/subscriptions.postgres.ts'
import { idOrNull } from '../../transaction.ts'
import { listChargeDiscounts } from '../discounts/charge-discounts.postgres.ts'
import type { ChargeDiscounts } from '../discounts/charge-discounts.ts'
import { type ProgressThen, progressBefore, progressThen } from './progress-origins.postgres.ts'

/** What an invoice's line was made from, beside what the invoice itself says. */
export type LineOrigin = {
  index: number
  /** Whose charge it is; null: no plan made it. */
  planId: string | null
  aggregation: string | null
  /** Of an adjustment: what discounts took off the charge on the invoice that billed its period; null: nothing. */
  discounts: ChargeDiscounts | null
  /** Of the invoice that billed the charge's period: of an adjustment an earlier one. */
  billedStartMs: number
  billedEndMs: number
  seal: Seal | null
  /** Of a fee that was billed in advance, or given back: the phases by which it was; null: there were none. */
  fee: { phases: readonly PhaseThen[] | null; discountMinor: bigint } | null
  /** Of a line of a progressive invoice: the phases by which that billed; null: it is none of those. */
  progressive: ProgressThen | null
  /** What the charge's lines and adjustments before it had billed of its period; the line itself is not in it. */
  billedMinor: bigint
}
export type PhaseThen = Phase & { periods: Recurrence }
export type Seal = { id: string; knownBeforeMs: number; eventCount: number; digest: string }
type LineOriginRow = {
  line_index: number
  plan_id: string | null
  aggregation: string | null
  billed_start: Date
  billed_end: Date
  billed_id: string | null
  charge_key: string
  meter: string | null
  charge_start: Date
  seal_id: string | null
  known_before: Date
  event_count: string
  digest: string
  is_fee: boolean
  fee_phases: PhaseThen[] | null
  fee_discount_minor: string | null
  billed_minor: string
}

/** The ids of invoices with an id or number: several where legal entities numbered alike. */
export async function findInvoiceIds(tx: TenantTransaction, idOrNumber: string): Promise<string[]> {
  const [, prefix, number] = /^(?:([A-Z0-9][A-Z0-9-]*)-)?(\d{1,18})$/.exec(idOrNumber) ?? []
  const { rows } = await tx.query<{ id: string }>(
    `SELECT i.id FROM invoices i
     LEFT JOIN legal_entities e ON e.tenant_id = i.tenant_id AND e.id = i.legal_entity_id
     WHERE i.id = $1::uuid
       OR (i.number = $2::bigint AND ($3::text IS NULL OR COALESCE(e.number_prefix, 'INV') = $3))
     LIMIT 2`,
    [idOrNull(idOrNumber), number ?? null, prefix ?? null],
  )
  return rows.map((row) => row.id)
}

/** An adjustment quotes the seal it was made by, and its charge was billed by an earlier invoice. */
export async function lineOrigins(tx: TenantTransaction, invoiceId: string): Promise<LineOrigin[]> {
  const { rows } = await tx.query<LineOriginRow>(
    `SELECT l.line_index, COALESCE(l.plan_id, i.plan_id) AS plan_id, m.aggregation,
       COALESCE(f.period_start, o.period_start, i.period_start) AS billed_start,
       COALESCE(f.period_end, o.period_end, i.period_end) AS billed_end,
       f.invoice_id IS NOT NULL AS is_fee,
       (SELECT jsonb_agg(jsonb_build_object('startMs', (extract(epoch FROM h.start_at) * 1000)::bigint,
          'planId', h.plan_id, 'kind', h.kind, 'bills', h.bills, 'periods', jsonb_build_object(
            'interval', q.period_interval, 'every', q.period_every, 'alignment', q.alignment))
          || ${phaseExtras('h')} ORDER BY h.start_at)
        FROM subscription_phases h JOIN plans q ON q.tenant_id = h.tenant_id AND q.id = h.plan_id
        WHERE h.tenant_id = f.tenant_id AND h.subscription_id = f.subscription_id AND h.revision = f.revision
       ) AS fee_phases, e.discount_minor AS fee_discount_minor,
       s.seal_id, s.known_before, s.event_count, s.digest, o.id AS billed_id, l.charge_key, l.meter,
       l.period_start AS charge_start,
       COALESCE(b.lines_minor, 0) + COALESCE(a.adjusted_minor, 0) + COALESCE(e.fees_minor, 0) AS billed_minor
     FROM invoice_lines l
     JOIN invoices i ON i.tenant_id = l.tenant_id AND i.id = l.invoice_id
     LEFT JOIN billed_usage u
       ON u.tenant_id = l.tenant_id AND u.subscription_id = i.subscription_id AND u.charge_key = l.charge_key
       AND u.meter = l.meter AND u.period_start = l.period_start
       AND ((u.invoice_id = l.invoice_id AND u.line_index = l.line_index)
         OR (l.breakdown -> 0 ->> 'type' = 'adjustment' AND u.void_invoice_id IS NULL))
     LEFT JOIN invoices o
       ON o.tenant_id = l.tenant_id AND o.id = u.invoice_id AND l.breakdown -> 0 ->> 'type' = 'adjustment'
     LEFT JOIN billed_fees f ON f.tenant_id = l.tenant_id AND f.invoice_id = l.invoice_id AND f.line_index = l.line_index
     LEFT JOIN seals s ON s.tenant_id = l.tenant_id AND s.seal_id = CASE
       WHEN l.breakdown -> 0 ->> 'type' = 'adjustment' THEN (l.breakdown -> 0 ->> 'seal_id')::uuid
       WHEN u.invoice_id = l.invoice_id AND u.line_index = l.line_index THEN u.seal_id END
     LEFT JOIN meters m ON m.tenant_id = l.tenant_id AND m.slug = l.meter
     LEFT JOIN LATERAL (
       SELECT sum(x.amount_minor) AS lines_minor FROM invoice_lines x
       WHERE x.tenant_id = l.tenant_id AND x.invoice_id = o.id AND x.charge_key = l.charge_key
         AND x.meter = l.meter AND x.period_start = l.period_start
         AND x.breakdown -> 0 ->> 'type' IS DISTINCT FROM 'progressive'
     ) AS b ON true
     LEFT JOIN LATERAL (
       SELECT sum(x.amount_minor) AS adjusted_minor FROM usage_adjustments x
       WHERE o.id IS NOT NULL AND x.tenant_id = l.tenant_id AND x.subscription_id = i.subscription_id
         AND x.charge_key = l.charge_key AND x.period_start = l.period_start AND x.known_before < s.known_before
     ) AS a ON true
     LEFT JOIN LATERAL (
       -- Fees of a period are settled once, by its own invoice: what was billed of them when that was issued. A void invoice
       -- is explained by what was there then.
       SELECT sum(x.amount_minor) AS fees_minor, sum(y.amount_minor - x.amount_minor + (
         SELECT coalesce(sum(d.amount_minor), 0) FROM invoice_lines d
         WHERE d.tenant_id = x.tenant_id AND d.invoice_id = x.invoice_id AND d.lowers_line = x.line_index
       )) AS discount_minor
       FROM billed_fees x
       JOIN invoice_lines y ON y.tenant_id = x.tenant_id AND y.invoice_id = x.invoice_id AND y.line_index = x.line_index
       JOIN invoices v ON v.tenant_id = x.tenant_id AND v.id = x.invoice_id AND v.finalised_at <= i.finalised_at
         AND (v.voided_at IS NULL OR v.voided_at > i.finalised_at)
       WHERE l.breakdown -> 0 ->> 'type' = 'fee_difference' AND x.tenant_id = l.tenant_id
         AND x.subscription_id = f.subscription_id AND x.plan_id = f.plan_id AND x.charge_key = f.charge_key
         AND x.period_start = f.period_start AND x.invoice_id <> l.invoice_id
     ) AS e ON true
     WHERE l.invoice_id = $1 ORDER BY l.line_index`,
    [invoiceId],
  )
  const places = rows.map((row) => {
    const { billed_id: invoiceId, charge_key: chargeKey, meter, charge_start: start } = row
    return { invoiceId, chargeKey, meter, startMs: start.getTime() }
  })
  const discounts = await listChargeDiscounts(tx, places)
  const [progressive, billedBefore] = [await progressThen(tx, invoiceId), await progressBefore(tx, invoiceId)]
  return rows.map((row, index) => {
    const billedMinor = billedBefore.get(row.line_index) ?? BigInt(row.billed_minor)
    return { ...originFromRow(row, discounts[index] ?? null), progressive, billedMinor }
  })
}

function originFromRow(
  row: LineOriginRow,
  discounts: ChargeDiscounts | null,
): Omit<LineOrigin, 'progressive' | 'billedMinor'> {
  return {
    index: row.line_index,
    discounts,
    planId: row.plan_id,
    aggregation: row.aggregation,
    billedStartMs: row.billed_start.getTime(),
    billedEndMs: row.billed_end.getTime(),
    fee: row.is_fee ? { phases: row.fee_phases, discountMinor: BigInt(row.fee_discount_minor ?? 0) } : null,
    seal:
      row.seal_id === null
        ? null
        : {
            id: row.seal_id,
            knownBeforeMs: row.known_before.getTime(),
            eventCount: Number(row.event_count),
            digest: row.digest,
          },
  }
}

/**
 * Whether the number before the invoice's own is there too, in its series; the first has none before it, and what is
 * suppressed has no number.
 */
export async function hasNumberBefore(tx: TenantTransaction, invoiceId: string): Promise<boolean> {
  const { rows } = await tx.query<{ dense: boolean }>(
    `SELECT i.number IS NULL OR i.number = 1 OR EXISTS (
       SELECT FROM invoices b
       WHERE b.legal_entity_id IS NOT DISTINCT FROM i.legal_entity_id AND b.number = i.number - 1) AS dense
     FROM invoices i WHERE i.id = $1`,
    [invoiceId],
  )
  return rows[0]?.dense === true
}

/** Before when what an invoice was made from was known: the W of its run. */
export async function runKnewBefore(tx: TenantTransaction, invoiceId: string): Promise<number | null> {
  const { rows } = await tx.query<{ known_before: Date }>(
    `SELECT r.known_before FROM invoices i
     JOIN billing_runs r ON r.tenant_id = i.tenant_id AND r.id = i.billing_run_id
     WHERE i.id = $1`,
    [invoiceId],
  )
  return rows[0]?.known_before.getTime() ?? null
}
