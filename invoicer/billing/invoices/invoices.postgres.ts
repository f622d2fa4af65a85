import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { LineBreakdown } from '../lines.ts'
import { formatInvoiceNumber, type Invoice, type InvoiceLine } from './invoice.ts'

type InvoiceRow = {
  id: string
  number: string
  state: Invoice['state']
  customer_id: string
  customer_key: string
  subscription_id: string
  plan_key: string
  currency: string
  period_start: Date
  period_end: Date
  subtotal_minor: string
  tax_minor: string
  total_minor: string
  amount_due_minor: string
  finalised_at: Date
  paid_at: Date | null
  billing_run_id: string
}
type LineRow = {
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
}
export type InvoiceFilter = { customer: string | null; subscription: string | null; billingRun: string | null }

const INVOICE = `
  SELECT i.id, i.number, i.state, i.customer_id, c.external_key AS customer_key, i.subscription_id, p.key AS plan_key,
    i.currency, i.period_start, i.period_end, i.subtotal_minor, i.tax_minor, i.total_minor, i.amount_due_minor,
    i.finalised_at, i.paid_at, i.billing_run_id
  FROM invoices i
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
       l.amount_minor, l.breakdown, u.quantity, u.event_count, u.digest, u.seal_id
     FROM invoice_lines l
     LEFT JOIN billed_usage u
       ON u.tenant_id = l.tenant_id AND u.invoice_id = l.invoice_id AND u.line_index = l.line_index
     WHERE l.invoice_id = ANY ($1::uuid[]) ORDER BY l.invoice_id, l.line_index`,
    [invoices.map((invoice) => invoice.id)],
  )
  const linesOf = new Map(invoices.map((invoice): [string, InvoiceLine[]] => [invoice.id, []]))
  for (const row of rows) linesOf.get(row.invoice_id)?.push(lineFromRow(row))
  return invoices.map((invoice) => fromRow(invoice, linesOf.get(invoice.id) ?? []))
}

function fromRow(row: InvoiceRow, lines: InvoiceLine[]): Invoice {
  return {
    id: row.id,
    number: formatInvoiceNumber(BigInt(row.number)),
    state: row.state,
    customer: { id: row.customer_id, externalKey: row.customer_key },
    subscriptionId: row.subscription_id,
    planKey: row.plan_key,
    currency: row.currency,
    periodStartMs: row.period_start.getTime(),
    periodEndMs: row.period_end.getTime(),
    lines,
    subtotalMinor: BigInt(row.subtotal_minor),
    taxMinor: BigInt(row.tax_minor),
    totalMinor: BigInt(row.total_minor),
    amountDueMinor: BigInt(row.amount_due_minor),
    finalisedAtMs: row.finalised_at.getTime(),
    paidAtMs: row.paid_at === null ? null : row.paid_at.getTime(),
    billingRunId: row.billing_run_id,
  }
}

function lineFromRow(row: LineRow): InvoiceLine {
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
    amountMinor: BigInt(row.amount_minor),
    breakdown: row.breakdown,
    usage,
  }
}
