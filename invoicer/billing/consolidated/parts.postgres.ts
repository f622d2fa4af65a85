import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray } from '../../array-text.ts'
import type { InvoicePart } from './part.ts'

type PartRow = {
  consolidated_id: string
  invoice_id: string
  first_line: number
  line_count: number
  subscription_id: string
  customer_id: string
  customer_key: string
  off_cycle: boolean
  period_start: Date
  period_end: Date
  subtotal_minor: string
  tax_minor: string
  total_minor: string
}

/** The parts of each of these invoices, in the order of their lines. */
export async function listParts(
  tx: TenantTransaction,
  invoiceIds: readonly string[],
): Promise<Map<string, InvoicePart[]>> {
  const { rows } = await tx.query<PartRow>(
    `SELECT q.consolidated_id, q.invoice_id, q.first_line, q.line_count, i.subscription_id, s.customer_id,
       c.external_key AS customer_key, i.off_cycle, i.period_start, i.period_end, i.subtotal_minor, i.tax_minor,
       i.total_minor
     FROM invoice_parts q
     JOIN invoices i ON i.tenant_id = q.tenant_id AND i.id = q.invoice_id
     JOIN subscriptions s ON s.tenant_id = q.tenant_id AND s.id = i.subscription_id
     JOIN customers c ON c.tenant_id = q.tenant_id AND c.id = s.customer_id
     WHERE q.consolidated_id = ANY ($1::uuid[]) ORDER BY q.consolidated_id, q.first_line, q.line_count, q.invoice_id`,
    [idArray(invoiceIds)],
  )
  const partsOf = new Map<string, InvoicePart[]>()
  for (const row of rows) {
    const parts = partsOf.get(row.consolidated_id)
    if (parts) parts.push(fromRow(row))
    else partsOf.set(row.consolidated_id, [fromRow(row)])
  }
  return partsOf
}

/** Those of the invoices that are parts: of which invoice, and from which of its lines on; null while they wait for it. */
export async function listPlacesOfParts(
  tx: TenantTransaction,
  invoiceIds: readonly string[],
): Promise<Map<string, { consolidatedId: string | null; firstLine: number | null }>> {
  const { rows } = await tx.query<{ invoice_id: string; consolidated_id: string | null; first_line: number | null }>(
    'SELECT invoice_id, consolidated_id, first_line FROM invoice_parts WHERE invoice_id = ANY ($1::uuid[])',
    [idArray([...new Set(invoiceIds)])],
  )
  return new Map(
    rows.map((row) => [row.invoice_id, { consolidatedId: row.consolidated_id, firstLine: row.first_line }]),
  )
}

function fromRow(row: PartRow): InvoicePart {
  return {
    invoiceId: row.invoice_id,
    subscriptionId: row.subscription_id,
    customer: { id: row.customer_id, externalKey: row.customer_key },
    offCycle: row.off_cycle,
    periodStartMs: row.period_start.getTime(),
    periodEndMs: row.period_end.getTime(),
    firstLine: row.first_line,
    lineCount: row.line_count,
    subtotalMinor: BigInt(row.subtotal_minor),
    taxMinor: BigInt(row.tax_minor),
    totalMinor: BigInt(row.total_minor),
  }
}
