import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { Discount } from './coupon.ts'

type DiscountRow = {
  id: string
  external_key: string
  coupon_id: string
  coupon_key: string
  customer_id: string
  subscription_id: string | null
  start_at: Date
  end_at: Date | null
  created_at: Date
}
const DISCOUNT = `
  SELECT d.id, d.external_key, d.coupon_id, c.key AS coupon_key, d.customer_id, d.subscription_id, d.start_at, e.end_at,
    d.created_at
  FROM discounts d
  JOIN coupons c ON c.tenant_id = d.tenant_id AND c.id = d.coupon_id
  LEFT JOIN discount_ends e ON e.tenant_id = d.tenant_id AND e.discount_id = d.id`

/** False where the external key is taken; waits for a transaction that is about to take it. */
export async function insertDiscount(tx: TenantTransaction, discount: Discount): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO discounts
       (tenant_id, id, external_key, coupon_id, customer_id, subscription_id, start_at, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (tenant_id, external_key) DO NOTHING`,
    [
      ...[discount.id, discount.externalKey, discount.couponId, discount.customerId, discount.subscriptionId],
      ...[new Date(discount.startMs), new Date(discount.createdAtMs)],
    ],
  )
  return rowCount === 1
}

export async function findDiscount(tx: TenantTransaction, idOrKey: string): Promise<Discount | undefined> {
  const { rows } = await tx.query<DiscountRow>(
    `${DISCOUNT} WHERE d.id = $1::uuid OR d.external_key = $2 ORDER BY d.id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  return rows.map(discountFromRow)[0]
}

export async function findDiscountByKey(tx: TenantTransaction, externalKey: string): Promise<Discount | undefined> {
  const { rows } = await tx.query<DiscountRow>(`${DISCOUNT} WHERE d.external_key = $1`, [externalKey])
  return rows.map(discountFromRow)[0]
}

/** Of a customer, of a subscription with those of its customer that name none, or of all. */
export async function listDiscounts(
  tx: TenantTransaction,
  filter: { customerId: string | null; subscriptionId: string | null },
  page: Page,
): Promise<Discount[]> {
  const { rows } = await tx.query<DiscountRow>(
    `${DISCOUNT}
     WHERE ($1::uuid IS NULL OR d.customer_id = $1)
       AND ($2::uuid IS NULL OR coalesce(d.subscription_id, $2) = $2)
       AND ($3::uuid IS NULL OR d.id > $3)
     ORDER BY d.id LIMIT $4`,
    [filter.customerId, filter.subscriptionId, page.after, page.limit],
  )
  return rows.map(discountFromRow)
}

/** False where it has an end; waits for a transaction that is about to give it one. */
export async function insertEnd(tx: TenantTransaction, id: string, endMs: number, atMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO discount_ends (tenant_id, discount_id, end_at, created_at) VALUES (app_tenant(), $1, $2, $3)
     ON CONFLICT DO NOTHING`,
    [id, new Date(endMs), new Date(atMs)],
  )
  return rowCount === 1
}

function discountFromRow(row: DiscountRow): Discount {
  return {
    id: row.id,
    externalKey: row.external_key,
    couponId: row.coupon_id,
    couponKey: row.coupon_key,
    customerId: row.customer_id,
    subscriptionId: row.subscription_id,
    startMs: row.start_at.getTime(),
    endMs: row.end_at === null ? null : row.end_at.getTime(),
    createdAtMs: row.created_at.getTime(),
  }
}
