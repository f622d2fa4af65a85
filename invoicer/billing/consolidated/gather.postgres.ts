import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray, timeArray } from '../../array-text.ts'
import { payerIdOf } from '../due.ts'
import { numbersDrawn } from '../invoices/numbers.postgres.ts'
import type { Applied, NewInvoice } from '../invoices/rated-invoice.ts'
import type { LineToPay } from '../run/issue-chunk.ts'
import type { LineTax } from '../tax/tax.ts'

/** To whom parts belong together: one payer, one currency, one issuer, null: the tenant itself. */
export type PartGroup = { payerId: string; currency: string; legalEntityId: string | null }
export type WaitingPart = PartGroup & {
  invoiceId: string
  subscriptionId: string
  payerKey: string
  lineCount: number
  periodStartMs: number
  periodEndMs: number
  subtotalMinor: bigint
  taxMinor: bigint
  totalMinor: bigint
}
/** One invoice over parts, as it is issued. */
export type ConsolidatedInvoice = PartGroup & {
  id: string
  payerKey: string
  parts: readonly WaitingPart[]
  lines: readonly LineToPay[]
  periodStartMs: number
  periodEndMs: number
  subtotalMinor: bigint
  taxMinor: bigint
  totalMinor: bigint
}

/** Parts without numbers; they wait for the end of their run. Behind their lines, as all invoices. */
export async function insertParts(
  tx: TenantTransaction,
  runId: string,
  invoices: readonly NewInvoice[],
  atMs: number,
): Promise<void> {
  await tx.query(
    `WITH parts AS (
       INSERT INTO invoices
         (tenant_id, state, billing_run_id, finalised_at, amount_due_minor, id, subscription_id, customer_id, plan_id,
          currency, period_start, period_end, subtotal_minor, tax_minor, total_minor, legal_entity_id, off_cycle)
       SELECT app_tenant(), 'part', $1, $2, 0, n.*
       FROM unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::timestamptz[], $9::timestamptz[],
         $10::bigint[], $11::bigint[], $12::bigint[], $13::uuid[], $14::boolean[]) AS n
     )
     INSERT INTO invoice_parts (tenant_id, billing_run_id, invoice_id, line_count)
     SELECT app_tenant(), $1, n.* FROM unnest($3::uuid[], $15::integer[]) AS n`,
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
      idArray(invoices.map((invoice) => invoice.draft.legalEntityId)),
      plainArray(invoices.map((invoice) => (invoice.offCycle ? 't' : 'f'))),
      plainArray(invoices.map((invoice) => invoice.draft.lines.length)),
    ],
  )
}

/** Waiting parts `q` of a run, or of one that has ended without gathering them, which nobody continues. */
const WAITING = `
  FROM invoice_parts q
  JOIN billing_runs r ON r.tenant_id = q.tenant_id AND r.id = q.billing_run_id
  JOIN invoices i ON i.tenant_id = q.tenant_id AND i.id = q.invoice_id
  WHERE q.consolidated_id IS NULL AND (q.billing_run_id = $1 OR r.state IN ('completed', 'cancelled'))`

/** What waits to be gathered, and how many parts each has; nothing for most tenants, by an index that is empty then. */
export async function listWaitingGroups(
  tx: TenantTransaction,
  runId: string,
): Promise<(PartGroup & { parts: number })[]> {
  const { rows } = await tx.query<{
    customer_id: string
    currency: string
    legal_entity_id: string | null
    parts: number
  }>(
    `SELECT i.customer_id, i.currency, i.legal_entity_id, count(*)::integer AS parts ${WAITING}
     GROUP BY i.customer_id, i.currency, i.legal_entity_id ORDER BY i.customer_id, i.currency, i.legal_entity_id`,
    [runId],
  )
  return rows.map((row) => ({
    payerId: row.customer_id,
    currency: row.currency,
    legalEntityId: row.legal_entity_id,
    parts: row.parts,
  }))
}

/** Of which groups, of which parts alone (null: of all that wait), and how many of them at most. */
export type PartsWanted = { groups: readonly PartGroup[]; partIds: readonly string[] | null; most: number }

/**
 * Those parts of the groups that still wait; nobody else gathers them until the end of `tx`. In the order in which they
 * stand on their invoice, and in which all lock them: by whose they are, subscription, and period.
 */
export async function lockWaitingParts(
  tx: TenantTransaction,
  runId: string,
  { groups, partIds, most }: PartsWanted,
): Promise<WaitingPart[]> {
  const { rows } = await tx.query<{
    invoice_id: string
    customer_id: string
    currency: string
    legal_entity_id: string | null
    subscription_id: string
    payer_key: string
    line_count: number
    period_start: Date
    period_end: Date
    subtotal_minor: string
    tax_minor: string
    total_minor: string
  }>(
    `SELECT q.invoice_id, i.customer_id, i.currency, i.legal_entity_id, i.subscription_id, q.line_count, i.period_start,
       i.period_end, i.subtotal_minor, i.tax_minor, i.total_minor,
       (SELECT c.external_key FROM customers c WHERE c.tenant_id = i.tenant_id AND c.id = i.customer_id) AS payer_key
     ${WAITING} AND EXISTS (
       SELECT FROM unnest($2::uuid[], $3::text[], $4::uuid[]) AS n (payer_id, currency, entity_id)
       WHERE n.payer_id = i.customer_id AND n.currency = i.currency AND n.entity_id IS NOT DISTINCT FROM i.legal_entity_id)
       AND ($5::uuid[] IS NULL OR q.invoice_id = ANY ($5::uuid[]))
     ORDER BY (SELECT s.customer_id FROM subscriptions s WHERE s.tenant_id = i.tenant_id AND s.id = i.subscription_id),
       i.subscription_id, i.period_start, i.id LIMIT $6 FOR NO KEY UPDATE OF q`,
    [
      runId,
      idArray(groups.map(({ payerId }) => payerId)),
      textArray(groups.map(({ currency }) => currency)),
      idArray(groups.map(({ legalEntityId }) => legalEntityId)),
      partIds === null ? null : idArray(partIds),
      most,
    ],
  )
  return rows.map((row) => ({
    invoiceId: row.invoice_id,
    payerId: row.customer_id,
    payerKey: row.payer_key,
    currency: row.currency,
    legalEntityId: row.legal_entity_id,
    subscriptionId: row.subscription_id,
    lineCount: row.line_count,
    periodStartMs: row.period_start.getTime(),
    periodEndMs: row.period_end.getTime(),
    subtotalMinor: BigInt(row.subtotal_minor),
    taxMinor: BigInt(row.tax_minor),
    totalMinor: BigInt(row.total_minor),
  }))
}

/** What of the lines of parts says who may pay it, in their order; what a discount lowers is within its part. */
export async function listLinesToPay(
  tx: TenantTransaction,
  invoiceIds: readonly string[],
): Promise<Map<string, LineToPay[]>> {
  const { rows } = await tx.query<{
    invoice_id: string
    charge_key: string
    meter: string | null
    amount_minor: string
    tax: (Omit<LineTax, 'amountMinor'> & { amountMinor: string }) | null
    breakdown: LineToPay['breakdown']
    discount_id: string | null
    lowers_line: number | null
  }>(
    `SELECT invoice_id, charge_key, meter, amount_minor, jsonb_build_array(breakdown -> 0) AS breakdown, discount_id,
       lowers_line, CASE WHEN tax_minor IS NOT NULL THEN jsonb_build_object('amountMinor', tax_minor::text, 'ratePercent',
         trim_scale(tax_rate_percent)::text, 'code', tax_code, 'reason', tax_reason, 'certificate', tax_certificate,
         'inclusive', tax_inclusive) END AS tax
     FROM invoice_lines WHERE invoice_id = ANY ($1::uuid[]) ORDER BY invoice_id, line_index`,
    [idArray(invoiceIds)],
  )
  const linesOf = new Map<string, LineToPay[]>(invoiceIds.map((id) => [id, []]))
  for (const row of rows) {
    const { discount_id: id, lowers_line: lowers, tax } = row
    linesOf.get(row.invoice_id)?.push({
      chargeKey: row.charge_key,
      meter: row.meter,
      amountMinor: BigInt(row.amount_minor),
      tax: tax && { ...tax, amountMinor: BigInt(tax.amountMinor) },
      breakdown: row.breakdown,
      ...(id === null || lowers === null ? {} : { discount: { id, lowers } }),
    })
  }
  return linesOf
}

/** Which parts an invoice has, and from which of its lines on. Before the invoice, which comes last. */
export async function markGathered(tx: TenantTransaction, invoices: readonly ConsolidatedInvoice[]): Promise<void> {
  const places = invoices.flatMap(({ id, parts }) => {
    let firstLine = 0
    return parts.map(({ invoiceId, lineCount }) => {
      const place = { id, invoiceId, firstLine }
      firstLine += lineCount
      return place
    })
  })
  await tx.query(
    `UPDATE invoice_parts q SET consolidated_id = n.id, first_line = n.first_line
     FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS n (id, part_id, first_line)
     WHERE q.tenant_id = app_tenant() AND q.invoice_id = n.part_id`,
    [
      idArray(places.map(({ id }) => id)),
      idArray(places.map(({ invoiceId }) => invoiceId)),
      plainArray(places.map(({ firstLine }) => firstLine)),
    ],
  )
}

/** What was paid of an invoice as it is issued. */
export type Paid = Applied & { creditMinor: bigint }

/**
 * With their numbers, of the tenant's series or of that of their legal entity, and as of all invoices the last of the effects:
 * one statement for all, as counters are locked from its beginning on. They are locked as by whoever issues: the tenant's
 * first, then those of entities by id.
 */
export async function insertConsolidated(
  tx: TenantTransaction,
  runId: string,
  issued: readonly { invoice: ConsolidatedInvoice; paid: Paid }[],
  atMs: number,
): Promise<void> {
  const invoices = issued.map(({ invoice }) => invoice)
  const { rowCount } = await tx.query(
    `WITH ${numbersDrawn('$4')}
     INSERT INTO invoices
       (tenant_id, state, off_cycle, billing_run_id, finalised_at, number, id, legal_entity_id, customer_id, currency,
        period_start, period_end, subtotal_minor, tax_minor, total_minor, credit_minor, balance_minor, carried_in_minor,
        carried_out_minor, amount_due_minor)
     SELECT app_tenant(), 'finalised', false, $1, $2,
       drawn.before + row_number() OVER (PARTITION BY n.entity_id ORDER BY n.position), n.id, n.entity_id, n.payer_id,
       n.currency, n.period_start, n.period_end, n.subtotal, n.tax, n.total, n.credit, n.balance, n.carried_in,
       n.carried_out, n.total - n.credit - n.balance + n.carried_in - n.carried_out
     FROM unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::bigint[],
         $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[])
       WITH ORDINALITY
       AS n (id, entity_id, payer_id, currency, period_start, period_end, subtotal, tax, total, credit, balance, carried_in,
         carried_out, position)
     JOIN drawn ON drawn.entity_id IS NOT DISTINCT FROM n.entity_id`,
    [
      ...[runId, new Date(atMs)],
      idArray(invoices.map(({ id }) => id)),
      idArray(invoices.map(({ legalEntityId }) => legalEntityId)),
      idArray(invoices.map(({ payerId }) => payerId)),
      textArray(invoices.map(({ currency }) => currency)),
      timeArray(invoices.map(({ periodStartMs }) => periodStartMs)),
      timeArray(invoices.map(({ periodEndMs }) => periodEndMs)),
      plainArray(invoices.map(({ subtotalMinor }) => subtotalMinor)),
      plainArray(invoices.map(({ taxMinor }) => taxMinor)),
      plainArray(invoices.map(({ totalMinor }) => totalMinor)),
      plainArray(issued.map(({ paid }) => paid.creditMinor)),
      plainArray(issued.map(({ paid }) => paid.balanceMinor)),
      plainArray(issued.map(({ paid }) => paid.carriedInMinor)),
      plainArray(issued.map(({ paid }) => paid.carriedOutMinor)),
    ],
  )
  if (rowCount !== invoices.length) throw new Error('There is no counter of invoice numbers.')
}
