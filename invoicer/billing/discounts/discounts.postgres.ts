import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { offFromRow } from '../../agreements/coupons/coupons.postgres.ts'
import { idArray, plainArray, sparseArray, timeArray } from '../../array-text.ts'
import type { InvoiceDiscountSum } from '../invoices/invoice.ts'
import type { NewInvoice } from '../invoices/rated-invoice.ts'
import { type DiscountsOf, type GivenDiscount, noDiscounts } from './in-force.ts'

type GivenRow = {
  id: string
  customer_id: string
  subscription_id: string | null
  start_at: Date
  end_at: Date | null
  coupon_key: string
  name: string
  percent: string | null
  amount_minor: string | null
  currency: string | null
  cycles: number | null
  charge_keys: string[] | null
}

/**
 * What subscriptions have off their invoices, by what was known before an instant; null: by now. Behind whatever says
 * which period of theirs is next: what is billed meanwhile then moves them on, and their claim fails.
 */
export async function loadDiscounts(
  tx: TenantTransaction,
  subscriptions: readonly { id: string; customerId: string }[],
  knownBeforeMs: number | null,
): Promise<DiscountsOf> {
  if (subscriptions.length === 0) return noDiscounts
  const { rows } = await tx.query<GivenRow>(
    `SELECT d.id, d.customer_id, d.subscription_id, d.start_at, e.end_at, c.key AS coupon_key, c.name,
       trim_scale(c.percent)::text AS percent, c.amount_minor, c.currency, c.cycles, c.charge_keys
     FROM (
       SELECT * FROM discounts WHERE customer_id = ANY ($1::uuid[]) AND subscription_id IS NULL
       UNION ALL
       SELECT * FROM discounts WHERE subscription_id = ANY ($3::uuid[])) d
     JOIN coupons c ON c.tenant_id = d.tenant_id AND c.id = d.coupon_id
     LEFT JOIN discount_ends e ON e.tenant_id = d.tenant_id AND e.discount_id = d.id
       AND ($2::timestamptz IS NULL OR e.created_at < $2)
     WHERE $2::timestamptz IS NULL OR d.created_at < $2
     ORDER BY d.id`,
    [
      idArray([...new Set(subscriptions.map(({ customerId }) => customerId))]),
      dateOrNull(knownBeforeMs),
      idArray(subscriptions.map(({ id }) => id)),
    ],
  )
  if (rows.length === 0) return noDiscounts
  const counted = rows.filter(({ cycles }) => cycles !== null).map(({ id }) => id)
  const usedOf = await listUsed(
    tx,
    counted,
    subscriptions.map(({ id }) => id),
    knownBeforeMs,
  )
  const givenTo = grouped(rows, ({ customer_id, subscription_id: own }) => own ?? customer_id)
  return ({ id, customerId }) =>
    [...(givenTo.get(customerId) ?? []), ...(givenTo.get(id) ?? [])].map((row) =>
      givenFromRow(
        row,
        (usedOf.get(usedKey(row.id, id)) ?? []).map(({ due_at }) => due_at.getTime()),
      ),
    )
}

function dateOrNull(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms)
}

function grouped<T>(all: readonly T[], keyOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const one of all) {
    const group = groups.get(keyOf(one))
    if (group) group.push(one)
    else groups.set(keyOf(one), [one])
  }
  return groups
}

type UsedRow = { discount_id: string; subscription_id: string; due_at: Date }

/**
 * When invoices fell due that have a discount, void or not: what is billed again has the same place. Of fees on an invoice of
 * their own nothing is: void, it is left out, as far as that was known before the instant.
 */
async function listUsed(
  tx: TenantTransaction,
  discountIds: readonly string[],
  subscriptionIds: readonly string[],
  knownBeforeMs: number | null,
): Promise<Map<string, UsedRow[]>> {
  if (discountIds.length === 0) return new Map()
  const { rows } = await tx.query<UsedRow>(
    `SELECT DISTINCT a.discount_id, a.subscription_id, a.due_at FROM invoice_discounts a
     JOIN invoices i ON i.tenant_id = a.tenant_id AND i.id = a.invoice_id
     WHERE a.discount_id = ANY ($1::uuid[]) AND a.subscription_id = ANY ($2::uuid[])
       AND NOT (i.off_cycle AND i.state = 'void' AND ($3::timestamptz IS NULL OR i.voided_at < $3))`,
    [idArray(discountIds), idArray(subscriptionIds), dateOrNull(knownBeforeMs)],
  )
  return grouped(rows, (row) => usedKey(row.discount_id, row.subscription_id))
}

function usedKey(discountId: string, subscriptionId: string): string {
  return `${discountId}/${subscriptionId}`
}

function givenFromRow(row: GivenRow, usedAtMs: readonly number[]): GivenDiscount {
  return {
    id: row.id,
    couponKey: row.coupon_key,
    couponName: row.name,
    ...offFromRow(row),
    charges: row.charge_keys,
    cycles: row.cycles,
    startMs: row.start_at.getTime(),
    endMs: row.end_at === null ? null : row.end_at.getTime(),
    usedAtMs,
  }
}

/** Which discounts the invoices have, before these, which come last. */
export async function insertInvoiceDiscounts(tx: TenantTransaction, invoices: readonly NewInvoice[]): Promise<void> {
  const applied = invoices.flatMap((invoice) => (invoice.discounts ?? []).map((one) => ({ invoice, ...one })))
  if (applied.length === 0) return
  await tx.query(
    `INSERT INTO invoice_discounts
       (tenant_id, invoice_id, discount_id, subscription_id, due_at, cycle, amount_minor)
     SELECT app_tenant(), n.*
     FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::integer[], $6::bigint[]) AS n`,
    [
      idArray(applied.map(({ invoice }) => invoice.id)),
      idArray(applied.map(({ discountId }) => discountId)),
      idArray(applied.map(({ invoice }) => invoice.subscription.id)),
      timeArray(applied.map(({ atMs }) => atMs)),
      sparseArray(applied.map(({ cycle }) => cycle?.toString())),
      plainArray(applied.map(({ amountMinor }) => amountMinor)),
    ],
  )
}

/** What discounts took off invoices, those that found nothing to take from included. */
export async function listInvoiceDiscounts(
  tx: TenantTransaction,
  invoiceIds: readonly string[],
): Promise<Map<string, InvoiceDiscountSum[]>> {
  const { rows } = await tx.query<{
    invoice_id: string
    discount_id: string
    coupon_key: string
    cycle: number | null
    amount_minor: string
  }>(
    `SELECT a.invoice_id, a.discount_id, c.key AS coupon_key, a.cycle, a.amount_minor
     FROM invoice_discounts a
     JOIN discounts d ON d.tenant_id = a.tenant_id AND d.id = a.discount_id
     JOIN coupons c ON c.tenant_id = d.tenant_id AND c.id = d.coupon_id
     WHERE a.invoice_id = ANY ($1::uuid[]) ORDER BY a.invoice_id, a.discount_id`,
    [idArray(invoiceIds)],
  )
  const discountsOf = new Map<string, InvoiceDiscountSum[]>()
  for (const row of rows) {
    const { discount_id: discountId, coupon_key: couponKey, cycle } = row
    const one = { discountId, couponKey, cycle, amountMinor: BigInt(row.amount_minor) }
    discountsOf.set(row.invoice_id, [...(discountsOf.get(row.invoice_id) ?? []), one])
  }
  return discountsOf
}

/** When an invoice fell due that has discounts; null: it has none. */
export async function dueAtOf(tx: TenantTransaction, invoiceId: string): Promise<number | null> {
  const { rows } = await tx.query<{ due_at: Date }>(
    'SELECT due_at FROM invoice_discounts WHERE invoice_id = $1 LIMIT 1',
    [invoiceId],
  )
  return rows[0]?.due_at.getTime() ?? null
}
