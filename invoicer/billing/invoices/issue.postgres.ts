import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity } from '../../../schemas/quantity.ts'
import { idArray, plainArray, sparseArray, textArray, timeArray } from '../../array-text.ts'
import { countedIn } from '../counted.ts'
import { payerIdOf } from '../due.ts'
import type { Line } from '../lines.ts'
import type { LineTax } from '../tax/tax.ts'
import type { MeteredUsage } from '../usage.ts'
import { numbersDrawn } from './numbers.postgres.ts'
import { type Applied, type NewInvoice, NOTHING_APPLIED } from './rated-invoice.ts'

/** From where the first of its new invoices starts to behind the last one, as rated from what it was at a revision. */
export type Advance = {
  subscriptionId: string
  fromMs: number
  revision: number
  /** When fees of its next period were due on an invoice of their own, null: never; and when those of the one behind. */
  fromFeesMs: number | null
  next: { startMs: number; endMs: number } | null
  feesDueMs: number | null
}

/**
 * Moves subscriptions on, and answers those that stood where they were expected and were not changed since; with nothing
 * behind they have ended. Until the end of the transaction nobody else bills them; whoever waits for that finds them
 * moved on. Locks are taken in the order of ids.
 */
export async function claimSubscriptions(tx: TenantTransaction, advances: readonly Advance[]): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `WITH locked AS (
       SELECT s.id, s.next_period_start, s.revision, s.fees_due_at FROM subscriptions s
       WHERE s.tenant_id = app_tenant() AND s.id = ANY ($1::uuid[]) ORDER BY s.id FOR NO KEY UPDATE
     ), claimed AS (
       SELECT l.id, n.next_start, n.next_end, n.fees_due
       FROM unnest($1::uuid[], $2::timestamptz[], $3::integer[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
         $7::timestamptz[]) AS n (id, from_start, revision, next_start, next_end, from_fees, fees_due)
       JOIN locked l ON l.id = n.id AND l.next_period_start = n.from_start AND l.revision = n.revision
         AND l.fees_due_at IS NOT DISTINCT FROM n.from_fees
     )
     UPDATE subscriptions s SET next_period_start = c.next_start, next_period_end = c.next_end, fees_due_at = c.fees_due,
       state = CASE WHEN c.next_start IS NULL THEN 'ended' ELSE s.state END,
       contract_end_at = CASE WHEN c.next_start IS NULL AND s.state IN ('active', 'past_due') THEN s.end_at
         ELSE s.contract_end_at END
     FROM claimed c WHERE s.tenant_id = app_tenant() AND s.id = c.id RETURNING s.id`,
    [
      idArray(advances.map((advance) => advance.subscriptionId)),
      timeArray(advances.map((advance) => advance.fromMs)),
      plainArray(advances.map((advance) => advance.revision)),
      timeArray(advances.map((advance) => advance.next?.startMs)),
      timeArray(advances.map((advance) => advance.next?.endMs)),
      timeArray(advances.map((advance) => advance.fromFeesMs)),
      timeArray(advances.map((advance) => advance.feesDueMs)),
    ],
  )
  return new Set(rows.map((row) => row.id))
}

/** Those of the subscriptions that have the invoice of a period from there on, or that of its fees, or were changed by now. */
export async function listOvertaken(tx: TenantTransaction, advances: readonly Advance[]): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `SELECT n.id
     FROM unnest($1::uuid[], $2::timestamptz[], $3::integer[], $4::timestamptz[]) AS n (id, from_start, revision, from_fees)
     WHERE EXISTS (SELECT FROM invoices i
         WHERE i.subscription_id = n.id AND i.period_start = n.from_start AND NOT i.off_cycle)
       OR EXISTS (SELECT FROM subscriptions s WHERE s.id = n.id
         AND (s.revision <> n.revision OR s.fees_due_at IS DISTINCT FROM n.from_fees))`,
    [
      idArray(advances.map((advance) => advance.subscriptionId)),
      timeArray(advances.map((advance) => advance.fromMs)),
      plainArray(advances.map((advance) => advance.revision)),
      timeArray(advances.map((advance) => advance.fromFeesMs)),
    ],
  )
  return new Set(rows.map((row) => row.id))
}

/** Before their invoices, which come last; the foreign key is checked at the commit. */
export async function insertLines(tx: TenantTransaction, invoices: readonly NewInvoice[]): Promise<void> {
  const lines = flatLines(invoices)
  await tx.query(
    `INSERT INTO invoice_lines
       (tenant_id, invoice_id, line_index, charge_key, description, meter, period_start, period_end, amount_minor,
        currency, tax_minor, tax_rate_percent, tax_code, tax_reason, tax_certificate, tax_inclusive, plan_id,
        discount_id, lowers_line, breakdown)
     SELECT app_tenant(), n.*
     FROM ROWS FROM (
       unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
         $8::bigint[], $9::text[], $10::bigint[], $11::numeric[], $12::text[], $13::text[], $14::text[], $15::boolean[],
         $16::uuid[], $17::uuid[], $18::smallint[]), jsonb_array_elements($19::jsonb)
     ) AS n`,
    [
      idArray(lines.map(({ invoice }) => invoice.id)),
      plainArray(lines.map(({ index }) => index)),
      textArray(lines.map(({ line }) => line.chargeKey)),
      textArray(lines.map(({ line }) => line.description)),
      textArray(lines.map(({ line }) => line.meter)),
      timeArray(lines.map(({ line }) => line.period.startMs)),
      timeArray(lines.map(({ line }) => line.period.endMs)),
      plainArray(lines.map(({ line }) => line.amountMinor)),
      textArray(lines.map(({ invoice }) => invoice.plan.currency)),
      ...taxArrays(lines.map(({ line }) => line.tax)),
      otherPlans(lines.map(({ invoice, line }) => (line.planId === invoice.plan.id ? null : line.planId))),
      ...discountArrays(lines.map(({ line }) => line.discount)),
      JSON.stringify(lines.map(({ line }) => line.breakdown)),
    ],
  )
}

/** Columns of a chunk without any tax are empty, and Postgres fills them with nulls. */
function taxArrays(taxes: readonly (LineTax | null | undefined)[]): string[] {
  if (taxes.every((tax) => !tax)) return ['{}', '{}', '{}', '{}', '{}', '{}']
  return [
    sparseArray(taxes.map((tax) => tax?.amountMinor)),
    sparseArray(taxes.map((tax) => tax?.ratePercent)),
    textArray(taxes.map((tax) => tax?.code ?? null)),
    sparseArray(taxes.map((tax) => tax?.reason)),
    textArray(taxes.map((tax) => tax?.certificate ?? null)),
    sparseArray(taxes.map((tax) => tax?.inclusive)),
  ]
}

/** As above: most invoices have none. */
function discountArrays(discounts: readonly Line['discount'][]): string[] {
  if (discounts.every((discount) => discount === undefined)) return ['{}', '{}']
  return [idArray(discounts.map((one) => one?.id)), sparseArray(discounts.map((one) => one?.lowers.toString()))]
}

/** As above: most invoices are of one plan. */
function otherPlans(planIds: readonly (string | null)[]): string {
  return planIds.every((id) => id === null) ? '{}' : idArray(planIds)
}

/** As above: most lines need no more of their events than the total. */
function countedArray(usages: readonly MeteredUsage[]): string {
  const counted = usages.map(countedIn)
  return counted.every((one) => one === undefined)
    ? '{}'
    : textArray(counted.map((one) => (one === undefined ? null : JSON.stringify(one))))
}

/** What the metered lines were made from, under the run's seal. */
export async function insertBilledUsage(
  tx: TenantTransaction,
  sealId: string,
  invoices: readonly NewInvoice[],
): Promise<void> {
  const used = flatLines(invoices).flatMap(({ invoice, line, index }) => {
    const { usage, meter, chargeKey } = line
    return usage === null || meter === null ? [] : [{ invoice, line, index, chargeKey, meter, usage }]
  })
  if (used.length === 0) return
  await tx.query(
    `INSERT INTO billed_usage
       (tenant_id, seal_id, subscription_id, charge_key, meter, period_start, period_end, customer_id, invoice_id,
        line_index, quantity, event_count, digest, counted)
     SELECT app_tenant(), $1, n.*
     FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::uuid[], $8::uuid[],
       $9::smallint[], $10::numeric[], $11::bigint[], $12::numeric[], $13::jsonb[]) AS n`,
    [
      sealId,
      idArray(used.map(({ invoice }) => invoice.subscription.id)),
      textArray(used.map(({ chargeKey }) => chargeKey)),
      textArray(used.map(({ meter }) => meter)),
      timeArray(used.map(({ line }) => line.period.startMs)),
      timeArray(used.map(({ line }) => line.period.endMs)),
      idArray(used.map(({ invoice }) => invoice.subscription.customerId)),
      idArray(used.map(({ invoice }) => invoice.id)),
      plainArray(used.map(({ index }) => index)),
      plainArray(used.map(({ usage }) => formatQuantity(usage.quantity))),
      plainArray(used.map(({ usage }) => usage.events)),
      plainArray(used.map(({ usage }) => usage.digest)),
      countedArray(used.map(({ usage }) => usage)),
    ],
  )
}

/**
 * The invoices with their numbers, of the tenant's series or of that of their legal entity. The last statement of its
 * transaction: from here to the commit nobody else draws a number of these series, and a rollback gives them back. Series
 * are locked in one order, the tenant's own before those of entities by id.
 */
export async function insertNumbered(
  tx: TenantTransaction,
  runId: string,
  invoices: readonly NewInvoice[],
  creditOf: ReadonlyMap<string, bigint>,
  appliedOf: ReadonlyMap<string, Applied>,
  atMs: number,
): Promise<void> {
  const applied = invoices.map((invoice) => appliedOf.get(invoice.id) ?? NOTHING_APPLIED)
  const { rowCount } = await tx.query(
    `WITH ${numbersDrawn('$14')}
     INSERT INTO invoices
       (tenant_id, state, billing_run_id, finalised_at, number, id, subscription_id, customer_id, plan_id, currency,
        period_start, period_end, subtotal_minor, tax_minor, total_minor, credit_minor, amount_due_minor,
        legal_entity_id, balance_minor, off_cycle, carried_in_minor, carried_out_minor)
     SELECT app_tenant(), 'finalised', $1, $2,
       drawn.before + row_number() OVER (PARTITION BY n.entity_id ORDER BY n.position), n.id, n.subscription_id,
       n.customer_id, n.plan_id, n.currency, n.period_start, n.period_end, n.subtotal, n.tax, n.total, n.credit,
       n.total - n.credit - n.balance + n.carried_in - n.carried_out, n.entity_id, n.balance, n.off_cycle, n.carried_in,
       n.carried_out
     FROM unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::timestamptz[],
       $9::timestamptz[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::uuid[], $15::bigint[],
       $16::boolean[], $17::bigint[], $18::bigint[])
       WITH ORDINALITY
       AS n (id, subscription_id, customer_id, plan_id, currency, period_start, period_end, subtotal, tax, total, credit,
         entity_id, balance, off_cycle, carried_in, carried_out, position)
     JOIN drawn ON drawn.entity_id IS NOT DISTINCT FROM n.entity_id`,
    [
      runId,
      new Date(atMs),
      idArray(invoices.map((invoice) => invoice.id)),
      idArray(invoices.map((invoice) => invoice.subscription.id)),
      idArray(invoices.map((invoice) => payerIdOf(invoice.subscription))),
      idArray(invoices.map((invoice) => invoice.plan.id)),
      textArray(invoices.map((invoice) => invoice.plan.currency)),
      timeArray(invoices.map((invoice) => invoice.period.startMs)),
      timeArray(invoices.map((invoice) => invoice.period.endMs)),
      plainArray(invoices.map((invoice) => invoice.draft.subtotalMinor)),
      plainArray(invoices.map((invoice) => invoice.draft.taxMinor)),
      plainArray(invoices.map((invoice) => invoice.draft.totalMinor)),
      plainArray(invoices.map((invoice) => creditOf.get(invoice.id) ?? 0n)),
      idArray(invoices.map((invoice) => invoice.draft.legalEntityId)),
      plainArray(applied.map(({ balanceMinor }) => balanceMinor)),
      plainArray(invoices.map((invoice) => (invoice.offCycle ? 't' : 'f'))),
      plainArray(applied.map(({ carriedInMinor }) => carriedInMinor)),
      plainArray(applied.map(({ carriedOutMinor }) => carriedOutMinor)),
    ],
  )
  if (rowCount !== invoices.length) throw new Error('There is no counter of invoice numbers.')
}

/** Those not parked by this run before. Called before the subscriptions are moved on: what comes late is not due by then. */
export async function insertParked(
  tx: TenantTransaction,
  runId: string,
  parked: readonly { subscriptionId: string; periodStartMs: number; reason: string }[],
  atMs: number,
): Promise<Set<string>> {
  const { rows } = await tx.query<{ subscription_id: string }>(
    `INSERT INTO parked_subscriptions
       (tenant_id, billing_run_id, subscription_id, period_start, reason, parked_at, is_due)
     SELECT app_tenant(), $1, n.subscription_id, n.period_start, n.reason, $5,
       coalesce(s.next_period_start <= n.period_start, false)
     FROM unnest($2::uuid[], $3::timestamptz[], $4::text[]) AS n (subscription_id, period_start, reason)
     JOIN subscriptions s ON s.tenant_id = app_tenant() AND s.id = n.subscription_id
     ON CONFLICT (tenant_id, billing_run_id, subscription_id) DO UPDATE
       SET is_due = true, period_start = excluded.period_start, reason = excluded.reason
       WHERE excluded.is_due AND NOT parked_subscriptions.is_due
     RETURNING subscription_id`,
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
