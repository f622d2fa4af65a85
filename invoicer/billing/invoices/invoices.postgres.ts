import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'
import { type InvoiceTexts, NO_TEXTS } from '../../agreements/invoice-settings/texts.ts'
import { findPlans } from '../../agreements/plans/plans.postgres.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { InvoicePart } from '../consolidated/part.ts'
import { listParts } from '../consolidated/parts.postgres.ts'
import type { Counted } from '../counted.ts'
import { listInvoiceDiscounts } from '../discounts/discounts.postgres.ts'
import type { LineBreakdown } from '../lines.ts'
import type { LineTax, TaxReason } from '../tax/tax.ts'
import { formatInvoiceNumber, type Invoice, type InvoiceLine } from './invoice.ts'

/** A plan that is older than its hash has none; all null where there is no plan. */
type QuotedPlanRow = {
  plan_id: string | null
  plan_key: string | null
  plan_version: number | null
  plan_hash: string | null
}
type HashOf = (row: QuotedPlanRow) => string | null
type InvoiceRow = QuotedPlanRow & {
  id: string
  number: string | null
  state: Invoice['state']
  customer_id: string
  customer_key: string
  on_behalf_id: string | null
  on_behalf_key: string | null
  part_of: string | null
  subscription_id: string | null
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
  voided_at: Date | null
  carried_in_minor: string
  carried_out_minor: string
  change_reason: string | null
  replaces_id: string | null
  replaced_by_id: string | null
  texts: InvoiceTexts | null
  billing_run_id: string | null
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
  counted: Counted | null
  tax_minor: string | null
  tax_rate_percent: string | null
  tax_code: string | null
  tax_reason: TaxReason | null
  tax_certificate: string | null
  tax_inclusive: boolean | null
  discount_id: string | null
  lowers_line: number | null
  coupon_key: string | null
}
export type InvoiceFilter = { customer: string | null; subscription: string | null; billingRun: string | null }

const INVOICE = `
  SELECT i.id, i.number, i.state, i.customer_id, c.external_key AS customer_key, i.subscription_id, i.plan_id, p.key AS plan_key,
    p.version AS plan_version, p.content_hash AS plan_hash,
    i.currency, i.off_cycle, i.period_start, i.period_end, i.subtotal_minor, i.tax_minor, i.total_minor, i.credit_minor,
    i.balance_minor, i.amount_due_minor, i.credited_minor, i.settled_minor,
    i.finalised_at, i.paid_at, i.voided_at, i.carried_in_minor, i.carried_out_minor, i.billing_run_id, t.texts,
    (SELECT h.reason FROM invoice_changes h WHERE h.tenant_id = i.tenant_id AND h.invoice_id = i.id
     ORDER BY h.at DESC LIMIT 1) AS change_reason,
    r.void_invoice_id AS replaces_id, b.invoice_id AS replaced_by_id, e.key AS legal_entity, e.number_prefix,
    o.id AS on_behalf_id, o.external_key AS on_behalf_key, q.consolidated_id AS part_of
  FROM invoices i
  LEFT JOIN legal_entities e ON e.tenant_id = i.tenant_id AND e.id = i.legal_entity_id
  LEFT JOIN issued_texts t ON t.tenant_id = i.tenant_id AND t.invoice_id = i.id
  LEFT JOIN periods_to_bill_again r ON r.tenant_id = i.tenant_id AND r.invoice_id = i.id
  LEFT JOIN periods_to_bill_again b ON b.tenant_id = i.tenant_id AND b.void_invoice_id = i.id
  JOIN customers c ON c.tenant_id = i.tenant_id AND c.id = i.customer_id
  LEFT JOIN subscriptions s ON s.tenant_id = i.tenant_id AND s.id = i.subscription_id
  LEFT JOIN one_off_invoices f ON f.tenant_id = i.tenant_id AND f.invoice_id = i.id
  LEFT JOIN customers o ON o.tenant_id = i.tenant_id AND o.id <> i.customer_id
    AND o.id = coalesce(s.customer_id, (f.request ->> 'customer_id')::uuid)
  LEFT JOIN invoice_parts q ON q.tenant_id = i.tenant_id AND q.invoice_id = i.id
  LEFT JOIN plans p ON p.tenant_id = i.tenant_id AND p.id = i.plan_id`

export async function findInvoice(tx: TenantTransaction, id: string): Promise<Invoice | undefined> {
  const { rows } = await tx.query<InvoiceRow>(`${INVOICE} WHERE i.id = $1`, [idOrNull(id)])
  return (await withLines(tx, rows))[0]
}

/**
 * A filter that names nothing finds nothing; a customer is who pays. What was suppressed is not shown, void or not, and
 * parts are shown within what they are parts of.
 */
export async function listInvoices(tx: TenantTransaction, filter: InvoiceFilter, page: Page): Promise<Invoice[]> {
  const { rows } = await tx.query<InvoiceRow>(
    `${INVOICE}
     WHERE ($1::text IS NULL OR i.customer_id = (
         SELECT k.id FROM customers k WHERE k.id = $2::uuid OR k.external_key = $1
         ORDER BY k.id = $2::uuid DESC NULLS LAST LIMIT 1))
       AND ($3::text IS NULL OR i.id IN (
         SELECT coalesce(x.consolidated_id, n.id) FROM invoices n
         LEFT JOIN invoice_parts x ON x.tenant_id = n.tenant_id AND x.invoice_id = n.id
         WHERE n.subscription_id = (SELECT s.id FROM subscriptions s WHERE s.id = $4::uuid OR s.external_key = $3
           ORDER BY s.id = $4::uuid DESC NULLS LAST LIMIT 1)))
       AND ($5::text IS NULL OR i.billing_run_id = $6::uuid)
       AND ($7::uuid IS NULL OR i.id > $7) AND i.number IS NOT NULL
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
  const withoutOwn = invoices.flatMap(({ id, subscription_id: of }) => (of === null ? [id] : []))
  const partsOf = withoutOwn.length === 0 ? new Map<string, InvoicePart[]>() : await listParts(tx, withoutOwn)
  const placeOf = placesOf(partsOf)
  const { rows } = await tx.query<LineRow>(
    `SELECT l.invoice_id, l.line_index, l.charge_key, l.description, l.meter, l.period_start, l.period_end,
       l.amount_minor, l.breakdown, u.quantity, u.event_count, u.digest, u.seal_id, u.counted, l.tax_minor,
       trim_scale(l.tax_rate_percent)::text AS tax_rate_percent, l.tax_code, l.tax_reason, l.tax_certificate,
       l.tax_inclusive, p.id AS plan_id, p.key AS plan_key, p.version AS plan_version, p.content_hash AS plan_hash,
       l.discount_id, l.lowers_line, k.key AS coupon_key
     FROM invoice_lines l
     JOIN invoices i ON i.tenant_id = l.tenant_id AND i.id = l.invoice_id
     LEFT JOIN plans p ON p.tenant_id = l.tenant_id AND p.id = coalesce(l.plan_id, i.plan_id)
     LEFT JOIN billed_usage u
       ON u.tenant_id = l.tenant_id AND u.invoice_id = l.invoice_id AND u.line_index = l.line_index
     LEFT JOIN discounts d ON d.tenant_id = l.tenant_id AND d.id = l.discount_id
     LEFT JOIN coupons k ON k.tenant_id = l.tenant_id AND k.id = d.coupon_id
     WHERE l.invoice_id = ANY ($1::uuid[]) ORDER BY l.invoice_id, l.line_index`,
    [[...invoices.map((invoice) => invoice.id), ...placeOf.keys()]],
  )
  const linesOf = new Map(invoices.map((invoice): [string, InvoiceLine[]] => [invoice.id, []]))
  const hashOf = await planHashes(tx, [...invoices, ...rows])
  for (const row of rows) {
    const { shownId, firstLine } = placeOf.get(row.invoice_id) ?? { shownId: row.invoice_id, firstLine: 0 }
    linesOf.get(shownId)?.push(lineFromRow(row, hashOf(row), firstLine))
  }
  const discountsOf = await listInvoiceDiscounts(tx, [...invoices.map(({ id }) => id), ...placeOf.keys()])
  return invoices.map((invoice) => {
    const parts = partsOf.get(invoice.id) ?? []
    const lines = (linesOf.get(invoice.id) ?? []).sort((a, b) => a.index - b.index)
    const discounts = [invoice.id, ...parts.map((part) => part.invoiceId)].flatMap((id) => discountsOf.get(id) ?? [])
    return fromRow(invoice, hashOf(invoice), { lines, discounts, parts })
  })
}

/** Where the lines of parts are shown. */
function placesOf(partsOf: ReadonlyMap<string, InvoicePart[]>): Map<string, { shownId: string; firstLine: number }> {
  const places = [...partsOf].flatMap(([shownId, parts]) =>
    parts.map(({ invoiceId, firstLine }) => [invoiceId, { shownId, firstLine }] as const),
  )
  return new Map(places)
}

/** Plans that are older than their hashes are read to compute them. */
async function planHashes(tx: TenantTransaction, quoted: readonly QuotedPlanRow[]): Promise<HashOf> {
  const without = new Set(quoted.flatMap(({ plan_id, plan_hash }) => (plan_hash === null ? (plan_id ?? []) : [])))
  const plans = without.size === 0 ? [] : await findPlans(tx, [...without])
  const computed = new Map(plans.map(({ id, hash }) => [id, hash]))
  return ({ plan_id, plan_hash }) => (plan_id === null ? null : (plan_hash ?? computed.get(plan_id) ?? ''))
}

function fromRow(
  row: InvoiceRow,
  planHash: string | null,
  parts: Pick<Invoice, 'lines' | 'discounts' | 'parts'>,
): Invoice {
  return {
    id: row.id,
    number: row.number === null ? null : formatInvoiceNumber(BigInt(row.number), row.number_prefix ?? undefined),
    state: row.state,
    legalEntity: row.legal_entity,
    customer: { id: row.customer_id, externalKey: row.customer_key },
    onBehalfOf:
      row.on_behalf_id === null || row.on_behalf_key === null
        ? null
        : { id: row.on_behalf_id, externalKey: row.on_behalf_key },
    partOf: row.part_of,
    subscriptionId: row.subscription_id,
    planKey: row.plan_key,
    planVersion: row.plan_version,
    planHash,
    currency: row.currency,
    offCycle: row.off_cycle,
    periodStartMs: row.period_start.getTime(),
    periodEndMs: row.period_end.getTime(),
    ...parts,
    subtotalMinor: BigInt(row.subtotal_minor),
    taxMinor: BigInt(row.tax_minor),
    totalMinor: BigInt(row.total_minor),
    creditMinor: BigInt(row.credit_minor),
    balanceMinor: BigInt(row.balance_minor),
    carriedInMinor: BigInt(row.carried_in_minor),
    carriedOutMinor: BigInt(row.carried_out_minor),
    amountDueMinor: BigInt(row.amount_due_minor),
    creditedMinor: BigInt(row.credited_minor),
    settledMinor: BigInt(row.settled_minor),
    finalisedAtMs: row.finalised_at.getTime(),
    paidAtMs: row.paid_at === null ? null : row.paid_at.getTime(),
    voidedAtMs: row.voided_at === null ? null : row.voided_at.getTime(),
    changeReason: row.change_reason,
    replacesId: row.replaces_id,
    replacedById: row.replaced_by_id,
    texts: row.texts ?? NO_TEXTS,
    billingRunId: row.billing_run_id,
  }
}

function lineFromRow(row: LineRow, planHash: string | null, firstLine: number): InvoiceLine {
  const { quantity, event_count: events, digest, seal_id: sealId } = row
  const usage =
    quantity === null || events === null || digest === null || sealId === null
      ? null
      : {
          quantity: formatQuantity(parseQuantity(quantity)),
          events: Number(events),
          digest,
          sealId,
          counted: row.counted,
        }
  return {
    index: firstLine + row.line_index,
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
    discount: discountFromRow(row, firstLine),
  }
}

function discountFromRow({ discount_id: id, lowers_line: lowers, coupon_key: couponKey }: LineRow, firstLine: number) {
  return id === null || lowers === null || couponKey === null ? null : { id, couponKey, lowers: firstLine + lowers }
}

function taxFromRow(row: LineRow): LineTax | null {
  const { tax_minor: amount, tax_rate_percent: ratePercent, tax_code: code, tax_reason: reason } = row
  if (amount === null || ratePercent === null || code === null || reason === null) return null
  const inclusive = row.tax_inclusive === true
  return { amountMinor: BigInt(amount), ratePercent, code, reason, certificate: row.tax_certificate, inclusive }
}
