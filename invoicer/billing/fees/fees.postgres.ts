import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray, timeArray } from '../../array-text.ts'
import type { NewInvoice } from '../invoices/rated-invoice.ts'
import type { Span } from '../unused.ts'

/** Those of the invoices that are void by now. */
export async function listVoid(tx: TenantTransaction, invoiceIds: readonly string[]): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    "SELECT id FROM invoices WHERE id = ANY ($1::uuid[]) AND state = 'void'",
    [idArray(invoiceIds)],
  )
  return new Set(rows.map(({ id }) => id))
}

/** Those of the subscriptions of whose fees some are billed by other invoices than those that are known. */
export async function listBilledSince(
  tx: TenantTransaction,
  fees: readonly { subscriptionId: string; fee: Span }[],
  knownInvoiceIds: readonly string[],
): Promise<Set<string>> {
  const { rows } = await tx.query<{ subscription_id: string }>(
    `SELECT DISTINCT b.subscription_id
     FROM unnest($1::uuid[], $2::timestamptz[]) AS n (subscription_id, period_start)
     JOIN billed_fees b ON b.tenant_id = app_tenant() AND b.subscription_id = n.subscription_id
       AND b.period_start = n.period_start
     JOIN invoices i ON i.tenant_id = b.tenant_id AND i.id = b.invoice_id AND i.state <> 'void'
     WHERE b.invoice_id <> ALL ($3::uuid[])`,
    [
      idArray(fees.map(({ subscriptionId }) => subscriptionId)),
      timeArray(fees.map(({ fee }) => fee.startMs)),
      idArray(knownInvoiceIds),
    ],
  )
  return new Set(rows.map((row) => row.subscription_id))
}

/**
 * Whether the period of fees that this invoice billed in advance has an invoice of its own by now: that counted on them,
 * and asks for them no more.
 */
export async function areFeesCountedOn(tx: TenantTransaction, invoiceId: string): Promise<boolean> {
  const { rows } = await tx.query<{ counted_on: boolean }>(
    `SELECT EXISTS (
       SELECT FROM billed_fees b
       JOIN invoices i ON i.tenant_id = b.tenant_id AND i.subscription_id = b.subscription_id
         AND i.period_start = b.period_start AND NOT i.off_cycle AND i.state <> 'void' AND i.id <> b.invoice_id
       WHERE b.invoice_id = $1) AS counted_on`,
    [invoiceId],
  )
  return rows[0]?.counted_on === true
}

/** Whether another invoice settled fees that this one billed in advance. */
export async function areFeesSettled(tx: TenantTransaction, invoiceId: string): Promise<boolean> {
  const { rows } = await tx.query<{ settled: boolean }>(
    `SELECT EXISTS (
       SELECT FROM billed_fees b
       JOIN billed_fees o ON o.tenant_id = b.tenant_id AND o.subscription_id = b.subscription_id
         AND o.period_start = b.period_start AND o.plan_id = b.plan_id AND o.charge_key = b.charge_key
         AND o.invoice_id <> b.invoice_id
       JOIN invoices i ON i.tenant_id = o.tenant_id AND i.id = o.invoice_id AND i.state <> 'void'
       JOIN invoice_lines l ON l.tenant_id = o.tenant_id AND l.invoice_id = o.invoice_id AND l.line_index = o.line_index
       WHERE b.invoice_id = $1 AND l.breakdown -> 0 ->> 'type' = 'fee_difference') AS settled`,
    [invoiceId],
  )
  return rows[0]?.settled === true
}

/**
 * Which lines bill fees in advance, or give them back, and of which period. Their amounts are before discounts: a line that
 * gives back is less where discounts were never paid, and counts as so much of these. Behind the lines.
 */
export async function insertBilledFees(tx: TenantTransaction, invoices: readonly NewInvoice[]): Promise<void> {
  const billed = invoices.flatMap((invoice) =>
    invoice.draft.lines.flatMap((line, index) =>
      line.fee === undefined ? [] : [{ invoice, line, index, fee: line.fee }],
    ),
  )
  if (billed.length === 0) return
  await tx.query(
    `INSERT INTO billed_fees
       (tenant_id, invoice_id, line_index, subscription_id, plan_id, charge_key, period_start, period_end, revision,
        amount_minor)
     SELECT app_tenant(), n.*
     FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[], $7::timestamptz[],
       $8::integer[], $9::bigint[]) AS n`,
    [
      idArray(billed.map(({ invoice }) => invoice.id)),
      plainArray(billed.map(({ index }) => index)),
      idArray(billed.map(({ invoice }) => invoice.subscription.id)),
      idArray(billed.map(({ line }) => line.planId)),
      textArray(billed.map(({ line }) => line.chargeKey)),
      timeArray(billed.map(({ fee }) => fee.startMs)),
      timeArray(billed.map(({ fee }) => fee.endMs)),
      plainArray(billed.map(({ invoice }) => invoice.subscription.revision)),
      plainArray(billed.map(({ line, fee }) => fee.changeMinor ?? line.amountMinor)),
    ],
  )
}
