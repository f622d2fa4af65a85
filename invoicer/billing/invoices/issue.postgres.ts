import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity } from '../../../schemas/quantity.ts'
import type { NewInvoice } from './rated-invoice.ts'

/**
 * Invoices without number yet; answers those that are new. A period that has an invoice, or is about to get one from
 * another runner whose end this waits for, is left out: the unique key decides who bills it.
 */
export async function insertDrafts(
  tx: TenantTransaction,
  runId: string,
  invoices: readonly NewInvoice[],
): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `INSERT INTO invoices
       (tenant_id, id, state, billing_run_id, subscription_id, customer_id, plan_id, currency, period_start, period_end,
        subtotal_minor, tax_minor, total_minor, amount_due_minor)
     SELECT app_tenant(), n.id, 'draft', $1, n.subscription_id, n.customer_id, n.plan_id, n.currency, n.period_start,
       n.period_end, n.subtotal, n.tax, n.total, n.due
     FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::timestamptz[], $8::timestamptz[],
       $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
       AS n (id, subscription_id, customer_id, plan_id, currency, period_start, period_end, subtotal, tax, total, due)
     ON CONFLICT DO NOTHING RETURNING id`,
    [
      runId,
      invoices.map((invoice) => invoice.id),
      invoices.map((invoice) => invoice.subscription.id),
      invoices.map((invoice) => invoice.subscription.customerId),
      invoices.map((invoice) => invoice.plan.id),
      invoices.map((invoice) => invoice.plan.currency),
      invoices.map((invoice) => new Date(invoice.period.startMs)),
      invoices.map((invoice) => new Date(invoice.period.endMs)),
      invoices.map((invoice) => invoice.draft.subtotalMinor),
      invoices.map((invoice) => invoice.draft.taxMinor),
      invoices.map((invoice) => invoice.draft.totalMinor),
      invoices.map((invoice) => invoice.draft.amountDueMinor),
    ],
  )
  return new Set(rows.map((row) => row.id))
}

export async function insertLines(tx: TenantTransaction, invoices: readonly NewInvoice[]): Promise<void> {
  const lines = flatLines(invoices)
  await tx.query(
    `INSERT INTO invoice_lines
       (tenant_id, invoice_id, line_index, charge_key, description, meter, period_start, period_end, amount_minor,
        currency, breakdown)
     SELECT app_tenant(), n.invoice_id, n.line_index, n.charge_key, n.description, n.meter, n.period_start,
       n.period_end, n.amount, n.currency, n.breakdown::jsonb
     FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
       $8::bigint[], $9::text[], $10::text[])
       AS n (invoice_id, line_index, charge_key, description, meter, period_start, period_end, amount, currency,
         breakdown)`,
    [
      lines.map(({ invoice }) => invoice.id),
      lines.map(({ index }) => index),
      lines.map(({ line }) => line.chargeKey),
      lines.map(({ line }) => line.description),
      lines.map(({ line }) => line.meter),
      lines.map(({ invoice }) => new Date(invoice.period.startMs)),
      lines.map(({ invoice }) => new Date(invoice.period.endMs)),
      lines.map(({ line }) => line.amountMinor),
      lines.map(({ invoice }) => invoice.plan.currency),
      lines.map(({ line }) => JSON.stringify(line.breakdown)),
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
       (tenant_id, subscription_id, charge_key, meter, period_start, period_end, customer_id, invoice_id, line_index,
        seal_id, quantity, event_count, digest)
     SELECT app_tenant(), n.subscription_id, n.charge_key, n.meter, n.period_start, n.period_end, n.customer_id,
       n.invoice_id, n.line_index, $1, n.quantity, n.event_count, n.digest
     FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::uuid[], $8::uuid[],
       $9::smallint[], $10::numeric[], $11::bigint[], $12::numeric[])
       AS n (subscription_id, charge_key, meter, period_start, period_end, customer_id, invoice_id, line_index,
         quantity, event_count, digest)`,
    [
      sealId,
      used.map(({ invoice }) => invoice.subscription.id),
      used.map(({ chargeKey }) => chargeKey),
      used.map(({ meter }) => meter),
      used.map(({ invoice }) => new Date(invoice.period.startMs)),
      used.map(({ invoice }) => new Date(invoice.period.endMs)),
      used.map(({ invoice }) => invoice.subscription.customerId),
      used.map(({ invoice }) => invoice.id),
      used.map(({ index }) => index),
      used.map(({ usage }) => formatQuantity(usage.quantity)),
      used.map(({ usage }) => usage.events),
      used.map(({ usage }) => usage.digest),
    ],
  )
}

/** From where the first of its new invoices starts to behind the last one. */
export type Advance = { subscriptionId: string; fromMs: number; next: { startMs: number; endMs: number } | null }

/** Moves subscriptions on; answers how many stood where they were expected. */
export async function advanceSubscriptions(tx: TenantTransaction, advances: readonly Advance[]): Promise<number> {
  const { rowCount } = await tx.query(
    `UPDATE subscriptions s SET next_period_start = n.next_start, next_period_end = n.next_end
     FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[])
       AS n (id, from_start, next_start, next_end)
     WHERE s.tenant_id = app_tenant() AND s.id = n.id AND s.next_period_start = n.from_start`,
    [
      advances.map((advance) => advance.subscriptionId),
      advances.map((advance) => new Date(advance.fromMs)),
      advances.map((advance) => advance.next && new Date(advance.next.startMs)),
      advances.map((advance) => advance.next && new Date(advance.next.endMs)),
    ],
  )
  return rowCount ?? 0
}

/** The last statement of its transaction: from here to the commit nobody else of the tenant draws a number. */
export async function numberInvoices(tx: TenantTransaction, ids: readonly string[], atMs: number): Promise<number> {
  const { rowCount } = await tx.query(
    `WITH drawn AS (
       UPDATE invoice_numbers SET last_number = last_number + cardinality($1::uuid[])
       WHERE tenant_id = app_tenant()
       RETURNING last_number - cardinality($1::uuid[]) AS before
     )
     UPDATE invoices i SET number = drawn.before + n.position, state = 'finalised', finalised_at = $2
     FROM drawn, unnest($1::uuid[]) WITH ORDINALITY AS n (id, position)
     WHERE i.tenant_id = app_tenant() AND i.id = n.id`,
    [ids, new Date(atMs)],
  )
  return rowCount ?? 0
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
