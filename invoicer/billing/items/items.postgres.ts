import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'
import { idArray, plainArray, textArray } from '../../array-text.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { LineBreakdown } from '../lines.ts'
import type { LineTerms } from '../tax/tax.ts'
import type { OneTimeItem, PendingItem } from './invoice-item.ts'

type PendingRow = {
  id: string
  kind: PendingItem['kind']
  customer_id: string
  subscription_id: string | null
  charge_key: string
  description: string
  amount_minor: string
  currency: string
  plan_id: string | null
  meter: string | null
  period_start: Date | null
  period_end: Date | null
  breakdown: LineBreakdown
  tax: LineTerms | null
  created_at: Date
  tax_class: string | null
  seller_id: string | null
}

/** What waits for the customers, in the order in which it came. */
export async function listPendingItems(tx: TenantTransaction, customerIds: readonly string[]): Promise<PendingItem[]> {
  const { rows } = await tx.query<PendingRow>(
    `SELECT id, kind, customer_id, subscription_id, charge_key, description, amount_minor, currency, plan_id, meter,
       period_start, period_end, breakdown, tax, created_at, tax_class,
       (SELECT v.legal_entity_id FROM billed_usage b
        JOIN invoices v ON v.tenant_id = app_tenant() AND v.id = b.invoice_id
        WHERE i.kind = 'adjustment' AND b.subscription_id = i.subscription_id AND b.charge_key = i.charge_key
          AND b.period_start = i.period_start
        ORDER BY v.finalised_at DESC LIMIT 1) AS seller_id
     FROM invoice_items i WHERE customer_id = ANY ($1::uuid[]) AND invoice_id IS NULL AND deleted_at IS NULL
     ORDER BY id`,
    [idArray([...new Set(customerIds)])],
  )
  return rows.map(pendingFromRow)
}

/** Those of the items that still wait; until the end of the transaction nobody else invoices or deletes them. */
export async function lockPendingItems(tx: TenantTransaction, ids: readonly string[]): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `SELECT id FROM invoice_items
     WHERE id = ANY ($1::uuid[]) AND invoice_id IS NULL AND deleted_at IS NULL ORDER BY id FOR UPDATE`,
    [idArray(ids)],
  )
  return new Set(rows.map(({ id }) => id))
}

/** Behind `lockPendingItems`: says on which line of which invoice each item stands. */
export async function markInvoiced(
  tx: TenantTransaction,
  places: readonly { itemId: string; invoiceId: string; lineIndex: number }[],
): Promise<void> {
  await tx.query(
    `UPDATE invoice_items i SET invoice_id = n.invoice_id, line_index = n.line_index
     FROM unnest($1::uuid[], $2::uuid[], $3::smallint[]) AS n (id, invoice_id, line_index)
     WHERE i.tenant_id = app_tenant() AND i.id = n.id`,
    [
      idArray(places.map(({ itemId }) => itemId)),
      idArray(places.map(({ invoiceId }) => invoiceId)),
      plainArray(places.map(({ lineIndex }) => lineIndex)),
    ],
  )
}

/** What waits for a subscription that has no further period. */
export type LeftWaiting = { subscriptionId: string; itemIds: string[] }

/**
 * Subscriptions without a further period for which something waits: what names them or, for the customer's latest, what
 * names none where none of the customer's goes on. Those after a cursor, in order.
 */
export async function listLeftWaiting(tx: TenantTransaction, page: Page): Promise<LeftWaiting[]> {
  const { rows } = await tx.query<{ id: string; item_ids: string[] }>(
    `SELECT s.id, array_agg(i.id ORDER BY i.id) AS item_ids
     FROM invoice_items i
     JOIN subscriptions s ON s.tenant_id = i.tenant_id AND s.id = coalesce(i.subscription_id, (
       SELECT o.id FROM subscriptions o WHERE o.tenant_id = i.tenant_id AND o.customer_id = i.customer_id
       ORDER BY o.next_period_start IS NULL, o.id DESC LIMIT 1))
     WHERE i.invoice_id IS NULL AND i.deleted_at IS NULL AND s.next_period_start IS NULL AND ($1::uuid IS NULL OR s.id > $1)
     GROUP BY s.id ORDER BY s.id LIMIT $2`,
    [page.after, page.limit],
  )
  return rows.map((row) => ({ subscriptionId: row.id, itemIds: row.item_ids }))
}

export async function insertItem(tx: TenantTransaction, item: OneTimeItem, breakdown: LineBreakdown): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO invoice_items
       (tenant_id, id, kind, external_key, customer_id, subscription_id, charge_key, description, amount_minor, currency,
        quantity, unit_amount, breakdown, created_at, product_key, tax_class)
     VALUES (app_tenant(), $1, 'one_time', $2, $3, $4, $2, $5, $6, $7, $8, $9, $10, $11, $12, $13)
     ON CONFLICT (tenant_id, external_key) DO NOTHING`,
    [
      ...[item.id, item.externalKey, item.customerId, item.subscriptionId, item.description, item.amountMinor],
      ...[item.currency, item.quantity, item.unitAmount, JSON.stringify(breakdown), new Date(item.createdAtMs)],
      ...[item.productKey, item.taxClass],
    ],
  )
  return rowCount === 1
}

type ItemRow = {
  id: string
  external_key: string
  customer_id: string
  subscription_id: string | null
  description: string
  amount_minor: string
  currency: string
  quantity: string | null
  unit_amount: string | null
  product_key: string | null
  tax_class: string | null
  created_at: Date
  invoice_id: string | null
  deleted_at: Date | null
}
const STATE =
  "CASE WHEN deleted_at IS NOT NULL THEN 'deleted' WHEN invoice_id IS NULL THEN 'pending' ELSE 'invoiced' END"
const ITEM = `
  SELECT id, external_key, customer_id, subscription_id, description, amount_minor, currency, quantity, unit_amount,
    product_key, tax_class, created_at, invoice_id, deleted_at
  FROM invoice_items i WHERE kind = 'one_time'`

/** An id wins over an external key that looks like one. */
export async function findItem(tx: TenantTransaction, idOrKey: string): Promise<OneTimeItem | undefined> {
  const { rows } = await tx.query<ItemRow>(
    `${ITEM} AND (id = $1::uuid OR external_key = $2) ORDER BY id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  return rows.map(itemFromRow)[0]
}

/** By what they were asked for; each as by `findItem`. */
export async function findItems(
  tx: TenantTransaction,
  idsOrKeys: readonly string[],
): Promise<Map<string, OneTimeItem>> {
  const { rows } = await tx.query<ItemRow>(`${ITEM} AND (id = ANY ($1::uuid[]) OR external_key = ANY ($2::text[]))`, [
    idArray(idsOrKeys.flatMap((name) => idOrNull(name) ?? [])),
    textArray(idsOrKeys),
  ])
  const items = rows.map(itemFromRow)
  const byId = new Map(items.map((item) => [item.id, item]))
  const byKey = new Map(items.map((item) => [item.externalKey, item]))
  return new Map(
    idsOrKeys.flatMap((name) => {
      const item = byId.get(idOrNull(name) ?? '') ?? byKey.get(name)
      return item === undefined ? [] : [[name, item] as const]
    }),
  )
}

export async function findItemByKey(tx: TenantTransaction, externalKey: string): Promise<OneTimeItem | undefined> {
  const { rows } = await tx.query<ItemRow>(`${ITEM} AND external_key = $1`, [externalKey])
  return rows.map(itemFromRow)[0]
}

/** A filter that names nothing finds nothing. */
export async function listItems(
  tx: TenantTransaction,
  filter: { customerId: string | null; state: OneTimeItem['state'] | null },
  page: Page,
): Promise<OneTimeItem[]> {
  const { rows } = await tx.query<ItemRow>(
    `${ITEM} AND ($1::uuid IS NULL OR customer_id = $1) AND ($2::text IS NULL OR $2 = ${STATE})
       AND ($3::uuid IS NULL OR id > $3)
     ORDER BY id LIMIT $4`,
    [filter.customerId, filter.state, page.after, page.limit],
  )
  return rows.map(itemFromRow)
}

/** False where an invoice has it by now, or it is deleted. */
export async function deletePendingItem(tx: TenantTransaction, id: string, atMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    `UPDATE invoice_items SET deleted_at = $2
     WHERE id = $1 AND kind = 'one_time' AND invoice_id IS NULL AND deleted_at IS NULL`,
    [id, new Date(atMs)],
  )
  return rowCount === 1
}

function pendingFromRow(row: PendingRow): PendingItem {
  const { plan_id: planId, meter, period_start: start, period_end: end, tax } = row
  return {
    id: row.id,
    kind: row.kind,
    customerId: row.customer_id,
    subscriptionId: row.subscription_id,
    corrects:
      planId === null || meter === null || start === null || end === null
        ? null
        : { planId, meter, period: { startMs: start.getTime(), endMs: end.getTime() }, tax },
    chargeKey: row.charge_key,
    description: row.description,
    amountMinor: BigInt(row.amount_minor),
    currency: row.currency,
    breakdown: row.breakdown,
    createdAtMs: row.created_at.getTime(),
    ...(row.tax_class === null ? {} : { taxClass: row.tax_class }),
    sellerId: row.seller_id,
  }
}

function itemFromRow(row: ItemRow): OneTimeItem {
  const textOf = (quantity: string | null) => (quantity === null ? null : formatQuantity(parseQuantity(quantity)))
  return {
    id: row.id,
    externalKey: row.external_key,
    customerId: row.customer_id,
    subscriptionId: row.subscription_id,
    description: row.description,
    amountMinor: BigInt(row.amount_minor),
    currency: row.currency,
    quantity: textOf(row.quantity),
    unitAmount: textOf(row.unit_amount),
    taxClass: row.tax_class,
    productKey: row.product_key,
    createdAtMs: row.created_at.getTime(),
    invoiceId: row.invoice_id,
    state: row.deleted_at !== null ? 'deleted' : row.invoice_id === null ? 'pending' : 'invoiced',
  }
}
