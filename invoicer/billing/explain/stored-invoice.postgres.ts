import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull } from '../../transaction.ts'

/** What an invoice's line was made from, beside what the invoice itself says. */
export type LineOrigin = {
  index: number
  /** Whose charge it is. */
  planId: string
  aggregation: string | null
  /** Of the invoice that billed the charge's period: of an adjustment an earlier one. */
  billedStartMs: number
  billedEndMs: number
  seal: Seal | null
  /** What the charge's lines and adjustments before it had billed of its period; the line itself is not in it. */
  billedMinor: bigint
}
export type Seal = { id: string; knownBeforeMs: number; eventCount: number; digest: string }
type LineOriginRow = {
  line_index: number
  plan_id: string
  aggregation: string | null
  billed_start: Date
  billed_end: Date
  seal_id: string | null
  known_before: Date
  event_count: string
  digest: string
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
       COALESCE(o.period_start, i.period_start) AS billed_start, COALESCE(o.period_end, i.period_end) AS billed_end,
       s.seal_id, s.known_before, s.event_count, s.digest,
       COALESCE(b.lines_minor, 0) + COALESCE(a.adjusted_minor, 0) AS billed_minor
     FROM invoice_lines l
     JOIN invoices i ON i.tenant_id = l.tenant_id AND i.id = l.invoice_id
     LEFT JOIN billed_usage u
       ON u.tenant_id = l.tenant_id AND u.subscription_id = i.subscription_id AND u.charge_key = l.charge_key
       AND u.meter = l.meter AND u.period_start = l.period_start
     LEFT JOIN invoices o
       ON o.tenant_id = l.tenant_id AND o.id = u.invoice_id AND l.breakdown -> 0 ->> 'type' = 'adjustment'
     LEFT JOIN seals s ON s.tenant_id = l.tenant_id AND s.seal_id = CASE
       WHEN l.breakdown -> 0 ->> 'type' = 'adjustment' THEN (l.breakdown -> 0 ->> 'seal_id')::uuid
       WHEN u.invoice_id = l.invoice_id AND u.line_index = l.line_index THEN u.seal_id END
     LEFT JOIN meters m ON m.tenant_id = l.tenant_id AND m.slug = l.meter
     LEFT JOIN LATERAL (
       SELECT sum(x.amount_minor) AS lines_minor FROM invoice_lines x
       WHERE x.tenant_id = l.tenant_id AND x.invoice_id = o.id AND x.charge_key = l.charge_key
         AND x.meter = l.meter AND x.period_start = l.period_start
     ) AS b ON true
     LEFT JOIN LATERAL (
       SELECT sum(x.amount_minor) AS adjusted_minor FROM usage_adjustments x
       WHERE o.id IS NOT NULL AND x.tenant_id = l.tenant_id AND x.subscription_id = i.subscription_id
         AND x.charge_key = l.charge_key AND x.period_start = l.period_start AND x.known_before < s.known_before
     ) AS a ON true
     WHERE l.invoice_id = $1 ORDER BY l.line_index`,
    [invoiceId],
  )
  return rows.map((row) => ({
    index: row.line_index,
    planId: row.plan_id,
    aggregation: row.aggregation,
    billedStartMs: row.billed_start.getTime(),
    billedEndMs: row.billed_end.getTime(),
    seal:
      row.seal_id === null
        ? null
        : {
            id: row.seal_id,
            knownBeforeMs: row.known_before.getTime(),
            eventCount: Number(row.event_count),
            digest: row.digest,
          },
    billedMinor: BigInt(row.billed_minor),
  }))
}

/** Whether the number before the invoice's own is there too, in its series; the first has none before it. */
export async function hasNumberBefore(tx: TenantTransaction, invoiceId: string): Promise<boolean> {
  const { rows } = await tx.query<{ dense: boolean }>(
    `SELECT i.number = 1 OR EXISTS (
       SELECT FROM invoices b
       WHERE b.legal_entity_id IS NOT DISTINCT FROM i.legal_entity_id AND b.number = i.number - 1) AS dense
     FROM invoices i WHERE i.id = $1`,
    [invoiceId],
  )
  return rows[0]?.dense === true
}
