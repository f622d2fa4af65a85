import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity } from '../../../schemas/quantity.ts'
import { idArray, plainArray, textArray, timeArray } from '../../array-text.ts'
import type { NewInvoice } from './rated-invoice.ts'

/** From where the first of its new invoices starts to behind the last one. */
export type Advance = { subscriptionId: string; fromMs: number; next: { startMs: number; endMs: number } | null }

/**
 * Moves subscriptions on, and answers those that stood where they were expected. Until the end of the transaction
 * nobody else bills them; whoever waits for that finds them moved on. Locks are taken in the order of ids.
 */
export async function claimSubscriptions(tx: TenantTransaction, advances: readonly Advance[]): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `WITH claimed AS (
       SELECT s.id, n.next_start, n.next_end
       FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[])
         AS n (id, from_start, next_start, next_end)
       JOIN subscriptions s ON s.tenant_id = app_tenant() AND s.id = n.id AND s.next_period_start = n.from_start
       ORDER BY s.id FOR NO KEY UPDATE OF s
     )
     UPDATE subscriptions s SET next_period_start = c.next_start, next_period_end = c.next_end
     FROM claimed c WHERE s.tenant_id = app_tenant() AND s.id = c.id RETURNING s.id`,
    [
      idArray(advances.map((advance) => advance.subscriptionId)),
      timeArray(advances.map((advance) => advance.fromMs)),
      timeArray(advances.map((advance) => advance.next?.startMs)),
      timeArray(advances.map((advance) => advance.next?.endMs)),
    ],
  )
  return new Set(rows.map((row) => row.id))
}

/** Those of the subscriptions that have an invoice from there on. */
export async function listBilled(tx: TenantTransaction, advances: readonly Advance[]): Promise<Set<string>> {
  const { rows } = await tx.query<{ subscription_id: string }>(
    `SELECT i.subscription_id FROM unnest($1::uuid[], $2::timestamptz[]) AS n (id, from_start)
     JOIN invoices i ON i.subscription_id = n.id AND i.period_start = n.from_start`,
    [idArray(advances.map((advance) => advance.subscriptionId)), timeArray(advances.map((advance) => advance.fromMs))],
  )
  return new Set(rows.map((row) => row.subscription_id))
}

/** Before their invoices, which come last; the foreign key is checked at the commit. */
export async function insertLines(tx: TenantTransaction, invoices: readonly NewInvoice[]): Promise<void> {
  const lines = flatLines(invoices)
  await tx.query(
    `INSERT INTO invoice_lines
       (tenant_id, invoice_id, line_index, charge_key, description, meter, period_start, period_end, amount_minor,
        currency, breakdown)
     SELECT app_tenant(), n.*
     FROM ROWS FROM (
       unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
         $8::bigint[], $9::text[]), jsonb_array_elements($10::jsonb)
     ) AS n`,
    [
      idArray(lines.map(({ invoice }) => invoice.id)),
      plainArray(lines.map(({ index }) => index)),
      textArray(lines.map(({ line }) => line.chargeKey)),
      textArray(lines.map(({ line }) => line.description)),
      textArray(lines.map(({ line }) => line.meter)),
      timeArray(lines.map(({ invoice }) => invoice.period.startMs)),
      timeArray(lines.map(({ invoice }) => invoice.period.endMs)),
      plainArray(lines.map(({ line }) => line.amountMinor)),
      textArray(lines.map(({ invoice }) => invoice.plan.currency)),
      JSON.stringify(lines.map(({ line }) => line.breakdown)),
    ],
  )
}

/** What the metered lines were made from, under the run's seal. */
export async function insertBilledUsage(
  tx: TenantTransaction,
  sealId: string,
  invoices: readonly NewInvoice[],
): Promise<void> {
  const used = flatLines(invoices).flatMap(({ invoice, line, index }) => {
    const { usage, meter, chargeKey } = line
    return usage === null || meter === null ? [] : [{ invoice, index, chargeKey, meter, usage }]
  })
  if (used.length === 0) return
  await tx.query(
    `INSERT INTO billed_usage
       (tenant_id, seal_id, subscription_id, charge_key, meter, period_start, period_end, customer_id, invoice_id,
        line_index, quantity, event_count, digest)
     SELECT app_tenant(), $1, n.*
     FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::uuid[], $8::uuid[],
       $9::smallint[], $10::numeric[], $11::bigint[], $12::numeric[]) AS n`,
    [
      sealId,
      idArray(used.map(({ invoice }) => invoice.subscription.id)),
      textArray(used.map(({ chargeKey }) => chargeKey)),
      textArray(used.map(({ meter }) => meter)),
      timeArray(used.map(({ invoice }) => invoice.period.startMs)),
      timeArray(used.map(({ invoice }) => invoice.period.endMs)),
      idArray(used.map(({ invoice }) => invoice.subscription.customerId)),
      idArray(used.map(({ invoice }) => invoice.id)),
      plainArray(used.map(({ index }) => index)),
      plainArray(used.map(({ usage }) => formatQuantity(usage.quantity))),
      plainArray(used.map(({ usage }) => usage.events)),
      plainArray(used.map(({ usage }) => usage.digest)),
    ],
  )
}

/**
 * The invoices with their numbers. The last statement of its transaction: from here to the commit nobody else of the
 * tenant draws a number, and a rollback gives the numbers back.
 */
export async function insertNumbered(
  tx: TenantTransaction,
  runId: string,
  invoices: readonly NewInvoice[],
  atMs: number,
): Promise<void> {
  const { rowCount } = await tx.query(
    `WITH drawn AS (
       UPDATE invoice_numbers SET last_number = last_number + cardinality($3::uuid[])
       WHERE tenant_id = app_tenant()
       RETURNING last_number - cardinality($3::uuid[]) AS before
     )
     INSERT INTO invoices
       (tenant_id, state, billing_run_id, finalised_at, number, id, subscription_id, customer_id, plan_id, currency,
        period_start, period_end, subtotal_minor, tax_minor, total_minor, amount_due_minor)
     SELECT app_tenant(), 'finalised', $1, $2, drawn.before + n.position, n.id, n.subscription_id, n.customer_id,
       n.plan_id, n.currency, n.period_start, n.period_end, n.subtotal, n.tax, n.total, n.due
     FROM drawn, unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::timestamptz[],
       $9::timestamptz[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]) WITH ORDINALITY
       AS n (id, subscription_id, customer_id, plan_id, currency, period_start, period_end, subtotal, tax, total, due,
         position)`,
    [
      runId,
      new Date(atMs),
      idArray(invoices.map((invoice) => invoice.id)),
      idArray(invoices.map((invoice) => invoice.subscription.id)),
      idArray(invoices.map((invoice) => invoice.subscription.customerId)),
      idArray(invoices.map((invoice) => invoice.plan.id)),
      textArray(invoices.map((invoice) => invoice.plan.currency)),
      timeArray(invoices.map((invoice) => invoice.period.startMs)),
      timeArray(invoices.map((invoice) => invoice.period.endMs)),
      plainArray(invoices.map((invoice) => invoice.draft.subtotalMinor)),
      plainArray(invoices.map((invoice) => invoice.draft.taxMinor)),
      plainArray(invoices.map((invoice) => invoice.draft.totalMinor)),
      plainArray(invoices.map((invoice) => invoice.draft.amountDueMinor)),
    ],
  )
  if (rowCount !== invoices.length) throw new Error('There is no counter of invoice numbers.')
}

/** Those not parked by this run before. */
export async function insertParked(
  tx: TenantTransaction,
  runId: string,
  parked: readonly { subscriptionId: string; periodStartMs: number; reason: string }[],
  atMs: number,
): Promise<Set<string>> {
  const { rows } = await tx.query<{ subscription_id: string }>(
    `INSERT INTO parked_subscriptions (tenant_id, billing_run_id, subscription_id, period_start, reason, parked_at)
     SELECT app_tenant(), $1, n.subscription_id, n.period_start, n.reason, $5
     FROM unnest($2::uuid[], $3::timestamptz[], $4::text[]) AS n (subscription_id, period_start, reason)
     ON CONFLICT DO NOTHING RETURNING subscription_id`,
    [
      runId,
      parked.map((item) => item.subscriptionId),
      parked.map((item) => new Date(item.periodStartMs)),
      parked.map((item) => item.reason),
      new Date(atMs),
    ],
  )
  return new Set(rows.map((row) => row.subscription_id))
}

function flatLines(invoices: readonly NewInvoice[]) {
  return invoices.flatMap((invoice) => invoice.draft.lines.map((line, index) => ({ invoice, line, index })))
}
