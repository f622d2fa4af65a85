import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { BesideInvoice } from './beside-invoice.ts'

/** Before the invoice, which comes last; the foreign key is checked at the commit. Its lines are of no plan. */
export async function insertBesideLines(tx: TenantTransaction, { id, currency, draft }: BesideInvoice): Promise<void> {
  const lines = draft.lines.map(({ period, tax, ...line }, index) => ({
    ...{ index, charge_key: line.chargeKey, description: line.description },
    ...{ period_start: new Date(period.startMs), period_end: new Date(period.endMs) },
    ...{ amount: line.amountMinor.toString(), breakdown: line.breakdown },
    ...{ tax: tax?.amountMinor.toString(), rate: tax?.ratePercent, code: tax?.code, reason: tax?.reason },
    ...{ certificate: tax?.certificate, inclusive: tax?.inclusive },
  }))
  await tx.query(
    `INSERT INTO invoice_lines
       (tenant_id, invoice_id, currency, line_index, charge_key, description, period_start, period_end, amount_minor,
        breakdown, tax_minor, tax_rate_percent, tax_code, tax_reason, tax_certificate, tax_inclusive)
     SELECT app_tenant(), $1, $2, n.*
     FROM jsonb_to_recordset($3::jsonb)
       AS n (index smallint, charge_key text, description text, period_start timestamptz, period_end timestamptz,
         amount bigint, breakdown jsonb, tax bigint, rate numeric, code text, reason text, certificate text,
         inclusive boolean)`,
    [id, currency, JSON.stringify(lines)],
  )
}

/**
 * The invoice with its number, of the tenant's series or of that of its legal entity, and with what paid it, if that came
 * before. The last statement of its transaction: from here to the commit nobody else draws a number of the series.
 */
export async function insertBesideNumbered(tx: TenantTransaction, invoice: BesideInvoice, atMs: number): Promise<void> {
  const { period, draft, applied, paidBy, creditMinor } = invoice
  const { balanceMinor, carriedInMinor, carriedOutMinor } = applied
  const dueMinor = draft.totalMinor - creditMinor - balanceMinor + carriedInMinor - carriedOutMinor
  const { rowCount } = await tx.query(
    `WITH drawn AS (
       UPDATE invoice_numbers SET last_number = last_number + 1
       WHERE tenant_id = app_tenant() AND $1::uuid IS NULL RETURNING last_number
     ), of_entity AS (
       UPDATE legal_entities SET last_number = last_number + 1
       WHERE tenant_id = app_tenant() AND id = $1 RETURNING last_number
     ), paid AS (
       INSERT INTO payments
         (tenant_id, id, invoice_id, gateway, idempotency_key, amount_minor, currency, state, gateway_reference, created_at,
          settled_at, is_sent)
       SELECT app_tenant(), $17, $2, $18, $19, $14, $4, 'succeeded', $20, $21, $16, true WHERE $17::uuid IS NOT NULL
     )
     INSERT INTO invoices
       (tenant_id, legal_entity_id, number, off_cycle, id, customer_id, currency, period_start, period_end, subtotal_minor,
        tax_minor, total_minor, credit_minor, balance_minor, carried_in_minor, carried_out_minor, amount_due_minor, state,
        finalised_at, paid_at)
     SELECT app_tenant(), $1, d.last_number, true, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
       CASE WHEN $15 = 'paid' THEN $16::timestamptz END
     FROM (SELECT * FROM drawn UNION ALL SELECT * FROM of_entity) AS d`,
    [
      ...[draft.legalEntityId ?? null, invoice.id, invoice.customerId, invoice.currency],
      ...[new Date(period.startMs), new Date(period.endMs), draft.subtotalMinor, draft.taxMinor, draft.totalMinor],
      ...[creditMinor, balanceMinor, carriedInMinor, carriedOutMinor, dueMinor],
      ...[paidBy === null && dueMinor > 0n ? 'finalised' : 'paid', new Date(atMs)],
      ...[paidBy?.paymentId ?? null, paidBy?.gateway ?? null, paidBy?.idempotencyKey ?? null],
      ...[paidBy?.reference ?? null, new Date(paidBy?.createdAtMs ?? atMs)],
    ],
  )
  if (rowCount !== 1) throw new Error('There is no counter of invoice numbers.')
}
