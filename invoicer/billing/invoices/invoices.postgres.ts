import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'
import { findPlans } from '../../agreements/plans/plans.postgres.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { LineBreakdown } from '../lines.ts'
import type { LineTax, TaxReason } from '../tax/tax.ts'
import { formatInvoiceNumber, type Invoice, type InvoiceLine } from './invoice.ts'

/** A plan that is older than its hash has none. */
type QuotedPlanRow = { plan_id: string; plan_key: string; plan_version: number; plan_hash: string | null }
type HashOf = (row: QuotedPlanRow) => string
type InvoiceRow = QuotedPlanRow & {
  id: string
  number: string
  state: Invoice['state']
  customer_id: string
  customer_key: string
  subscription_id: string
  currency: string
  off_cycle: boolean
  period_start: Date
  period_end: Date
  subtotal_minor: string
  tax_minor: string
  total_minor: string
  credit_minor: string
  balance_minor: string
  amount_due_minor: string
  credited_minor: string
  settled_minor: string
  legal_entity: string | null
  number_prefix: string | null
  finalised_at: Date
  paid_at: Date | null
  billing_run_id: string
}
type LineRow = QuotedPlanRow & {
  invoice_id: string
  line_index: number
  charge_key: string
  description: string
  meter: string | null
  period_start: Date
  period_end: Date
  amount_minor: string
  breakdown: LineBreakdown
  quantity: string | null
  event_count: string | null
  digest: string | null
  seal_id: string | null
  tax_minor: string | null
  tax_rate_percent: string | null
  tax_code: string | null
  tax_reason: TaxReason | null
  tax_certificate: string | null
  tax_inclusive: boolean | null
}
export type InvoiceFilter = { customer: string | null; subscription: string | null; billingRun: string | null }

const INVOICE = `
  SELECT i.id, i.number, i.state, i.customer_id, c.external_key AS customer_key, i.subscription_id, i.plan_id, p.key AS plan_key,
    p.version AS plan_version, p.content_hash AS plan_hash,
    i.currency, i.off_cycle, i.period_start, i.period_end, i.subtotal_minor, i.tax_minor, i.total_minor, i.credit_minor,
    i.balance_minor, i.amount_due_minor, i.credited_minor, i.settled_minor,
    i.finalised_at, i.paid_at, i.billing_run_id, e.key AS legal_entity, e.number_prefix
  FROM invoices i
  LEFT JOIN legal_entities e ON e.tenant_id = i.tenant_id AND e.id = i.legal_entity_id
  JOIN customers c ON c.tenant_id = i.tenant_id AND c.id = i.customer_id
  JOIN plans p ON p.tenant_id = i.tenant_id AND p.id = i.plan_id`

export async function findInvoice(tx: TenantTransaction, id: string): Promise<Invoice | undefined> {
  const { rows } = await tx.query<InvoiceRow>(`${INVOICE} WHERE i.id = $1`, [idOrNull(id)])
  return (await withLines(tx, rows))[0]
}

/** A filter that names nothing finds nothing. */
export async function listInvoices(tx: TenantTransaction, filter: InvoiceFilter, page: Page): Promise<Invoice[]> {
  const { rows } = await tx.query<InvoiceRow>(
    `${INVOICE}
     WHERE ($1::text IS NULL OR i.customer_id = (
         SELECT k.id FROM customers k WHERE k.id = $2::uuid OR k.external_key = $1
         ORDER BY k.id = $2::uuid DESC NULLS LAST LIMIT 1))
       AND ($3::text IS NULL OR i.subscription_id = (
         SELECT s.id FROM subscriptions s WHERE s.id = $4::uuid OR s.external_key = $3
         ORDER BY s.id = $4::uuid DESC NULLS LAST LIMIT 1))
       AND ($5::text IS NULL OR i.billing_run_id = $6::uuid)
       AND ($7::uuid IS NULL OR i.id > $7)
     ORDER BY i.id LIMIT $8`,
    [
      filter.customer,
      idOrNull(filter.customer ?? ''),
      filter.subscription,
      idOrNull(filter.subscription ?? ''),
      filter.billingRun,
      idOrNull(filter.billingRun ?? ''),
      page.after,
      page.limit,
    ],
  )
  return withLines(tx, rows)
}

/** The lines of all the invoices in one statement. */
async function withLines(tx: TenantTransaction, invoices: readonly InvoiceRow[]): Promise<Invoice[]> {
  if (invoices.length === 0) return []
  const { rows } = await tx.query<LineRow>(
    `SELECT l.invoice_id, l.line_index, l.charge_key, l.description, l.meter, l.period_start, l.period_end,
       l.amount_minor, l.breakdown, u.quantity, u.event_count, u.digest, u.seal_id, l.tax_minor,
       trim_scale(l.tax_rate_percent)::text AS tax_rate_percent, l.tax_code, l.tax_reason, l.tax_certificate,
       l.tax_inclusive, p.id AS plan_id, p.key AS plan_key, p.version AS plan_version, p.content_hash AS plan_hash
     FROM invoice_lines l
     JOIN invoices i ON i.tenant_id = l.tenant_id AND i.id = l.invoice_id
     JOIN plans p ON p.tenant_id = l.tenant_id AND p.id = coalesce(l.plan_id, i.plan_id)
     LEFT JOIN billed_usage u
       ON u.tenant_id = l.tenant_id AND u.invoice_id = l.invoice_id AND u.line_index = l.line_index
     WHERE l.invoice_id = ANY ($1::uuid[]) ORDER BY l.invoice_id, l.line_index`,
    [invoices.map((invoice) => invoice.id)],
  )
  const linesOf = new Map(invoices.map((invoice): [string, InvoiceLine[]] => [invoice.id, []]))
  const hashOf = await planHashes(tx, [...invoices, ...rows])
  for (const row of rows) linesOf.get(row.invoice_id)?.push(lineFromRow(row, hashOf(row)))
  return invoices.map((invoice) => fromRow(invoice, hashOf(invoice), linesOf.get(invoice.id) ?? []))
}

/** Plans that are older than their hashes are read to compute them. */
async function planHashes(tx: TenantTransaction, quoted: readonly QuotedPlanRow[]): Promise<HashOf> {
  const without = new Set(quoted.flatMap(({ plan_id, plan_hash }) => (plan_hash === null ? [plan_id] : [])))
  const plans = without.size === 0 ? [] : await findPlans(tx, [...without])
  const computed = new Map(plans.map(({ id, hash }) => [id, hash]))
  return ({ plan_id, plan_hash }) => plan_hash ?? computed.get(plan_id) ?? ''
}

function fromRow(row: InvoiceRow, planHash: string, lines: InvoiceLine[]): Invoice {
  return {
    id: row.id,
    number: formatInvoiceNumber(BigInt(row.number), row.number_prefix ?? undefined),
    state: row.state,
    legalEntity: row.legal_entity,
    customer: { id: row.customer_id, externalKey: row.customer_key },
    subscriptionId: row.subscription_id,
    planKey: row.plan_key,
    planVersion: row.plan_version,
    planHash,
    currency: row.currency,
    offCycle: row.off_cycle,
    periodStartMs: row.period_start.getTime(),
    periodEndMs: row.period_end.getTime(),
    lines,
    subtotalMinor: BigInt(row.subtotal_minor),
    taxMinor: BigInt(row.tax_minor),
    totalMinor: BigInt(row.total_minor),
    creditMinor: BigInt(row.credit_minor),
    balanceMinor: BigInt(row.balance_minor),
    amountDueMinor: BigInt(row.amount_due_minor),
    creditedMinor: BigInt(row.credited_minor),
    settledMinor: BigInt(row.settled_minor),
    finalisedAtMs: row.finalised_at.getTime(),
    paidAtMs: row.paid_at === null ? null : row.paid_at.getTime(),
    billingRunId: row.billing_run_id,
  }
}

function lineFromRow(row: LineRow, planHash: string): InvoiceLine {
  const { quantity, event_count: events, digest, seal_id: sealId } = row
  const usage =
    quantity === null || events === null || digest === null || sealId === null
      ? null
      : { quantity: formatQuantity(parseQuantity(quantity)), events: Number(events), digest, sealId }
  return {
    index: row.line_index,
    chargeKey: row.charge_key,
    description: row.description,
    meter: row.meter,
    periodStartMs: row.period_start.getTime(),
    periodEndMs: row.period_end.getTime(),
    planKey: row.plan_key,
    planVersion: row.plan_version,
    planHash,
    amountMinor: BigInt(row.amount_minor),
    breakdown: row.breakdown,
    usage,
    tax: taxFromRow(row),
  }
}

function taxFromRow(row: LineRow): LineTax | null {
  const { tax_minor: amount, tax_rate_percent: ratePercent, tax_code: code, tax_reason: reason } = row
  if (amount === null || ratePercent === null || code === null || reason === null) return null
  const inclusive = row.tax_inclusive === true
  return { amountMinor: BigInt(amount), ratePercent, code, reason, certificate: row.tax_certificate, inclusive }
}
