import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { phaseExtras } from '../../agreements/subscriptions/subscriptions.postgres.ts'
import type { PhaseThen } from './stored-invoice.postgres.ts'

/** Of a progressive invoice, the phases by which it billed; null: there were none. */
export type ProgressThen = { phases: readonly PhaseThen[] | null }

/** What an invoice billed by as a progressive one; null: it is none. */
export async function progressThen(tx: TenantTransaction, invoiceId: string): Promise<ProgressThen | null> {
  const { rows } = await tx.query<{ phases: PhaseThen[] | null }>(
    `SELECT (SELECT jsonb_agg(jsonb_build_object('startMs', (extract(epoch FROM h.start_at) * 1000)::bigint,
        'planId', h.plan_id, 'kind', h.kind, 'bills', h.bills, 'periods', jsonb_build_object(
          'interval', q.period_interval, 'every', q.period_every, 'alignment', q.alignment))
          || ${phaseExtras('h')} ORDER BY h.start_at)
      FROM subscription_phases h JOIN plans q ON q.tenant_id = h.tenant_id AND q.id = h.plan_id
      WHERE h.tenant_id = g.tenant_id AND h.subscription_id = g.subscription_id AND h.revision = g.revision) AS phases
     FROM progressive_invoices g WHERE g.invoice_id = $1`,
    [invoiceId],
  )
  return rows[0] ?? null
}

/**
 * What the lines of an invoice that take off what progressive invoices billed are to take off, by their places: what the
 * latest of these before it brought their charge to behind discounts, of those that were not void then.
 */
export async function progressBefore(tx: TenantTransaction, invoiceId: string): Promise<Map<number, bigint>> {
  const { rows } = await tx.query<{ line_index: number; billed_minor: string }>(
    `SELECT l.line_index, coalesce(sum(x.amount_minor), 0) AS billed_minor
     FROM invoice_lines l
     JOIN invoices i ON i.tenant_id = l.tenant_id AND i.id = l.invoice_id
     LEFT JOIN invoice_lines x ON x.tenant_id = l.tenant_id AND x.charge_key = l.charge_key AND x.meter = l.meter
       AND x.period_start = l.period_start AND x.breakdown -> 0 ->> 'type' <> 'progressive'
       AND x.invoice_id = (
         SELECT g.invoice_id FROM progressive_invoices g
         JOIN invoices v ON v.tenant_id = g.tenant_id AND v.id = g.invoice_id AND v.finalised_at < i.finalised_at
           AND (v.voided_at IS NULL OR v.voided_at > i.finalised_at)
         WHERE g.subscription_id = i.subscription_id AND g.period_start <= l.period_start
         ORDER BY g.period_start DESC, g.ordinal DESC LIMIT 1)
     WHERE l.invoice_id = $1 AND l.breakdown -> 0 ->> 'type' = 'progressive'
     GROUP BY l.line_index`,
    [invoiceId],
  )
  return new Map(rows.map((row) => [row.line_index, BigInt(row.billed_minor)]))
}
