import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { Coupon, Off } from './coupon.ts'

type CouponRow = {
  id: string
  key: string
  name: string
  percent: string | null
  amount_minor: string | null
  currency: string | null
  cycles: number | null
  charge_keys: string[] | null
  redeem_by: Date | null
  max_redemptions: number | null
  redemptions: number
  archived_at: Date | null
  created_at: Date
}
const COUPON = `
  SELECT id, key, name, trim_scale(percent)::text AS percent, amount_minor, currency, cycles, charge_keys, redeem_by,
    max_redemptions, redemptions, archived_at, created_at
  FROM coupons`

/** False where the key is taken; waits for a transaction that is about to take it. */
export async function insertCoupon(tx: TenantTransaction, coupon: Coupon): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO coupons
       (tenant_id, id, key, name, percent, amount_minor, currency, cycles, charge_keys, redeem_by, max_redemptions,
        created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
     ON CONFLICT (tenant_id, key) DO NOTHING`,
    [
      ...[coupon.id, coupon.key, coupon.name, coupon.percent, coupon.amountMinor, coupon.currency, coupon.cycles],
      ...[coupon.charges, coupon.redeemByMs === null ? null : new Date(coupon.redeemByMs), coupon.maxRedemptions],
      new Date(coupon.createdAtMs),
    ],
  )
  return rowCount === 1
}

/** An id wins over a key that looks like one. */
export async function findCoupon(tx: TenantTransaction, idOrKey: string): Promise<Coupon | undefined> {
  const { rows } = await tx.query<CouponRow>(
    `${COUPON} WHERE id = $1::uuid OR key = $2 ORDER BY id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  return rows.map(couponFromRow)[0]
}

export async function findCouponByKey(tx: TenantTransaction, key: string): Promise<Coupon | undefined> {
  const { rows } = await tx.query<CouponRow>(`${COUPON} WHERE key = $1`, [key])
  return rows.map(couponFromRow)[0]
}

/** As it stands behind its lock: until the end of the transaction nobody else gives or archives it. */
export async function lockCoupon(tx: TenantTransaction, id: string): Promise<Coupon | undefined> {
  const { rows } = await tx.query<CouponRow>(`${COUPON} WHERE id = $1 FOR NO KEY UPDATE`, [id])
  return rows.map(couponFromRow)[0]
}

export async function listCoupons(tx: TenantTransaction, page: Page): Promise<Coupon[]> {
  const { rows } = await tx.query<CouponRow>(`${COUPON} WHERE ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2`, [
    page.after,
    page.limit,
  ])
  return rows.map(couponFromRow)
}

/** Behind `lockCoupon`. */
export async function raiseRedemptions(tx: TenantTransaction, id: string): Promise<void> {
  await tx.query('UPDATE coupons SET redemptions = redemptions + 1 WHERE id = $1', [id])
}

/** False if it is archived already. */
export async function setArchived(tx: TenantTransaction, id: string, atMs: number): Promise<boolean> {
  const { rowCount } = await tx.query('UPDATE coupons SET archived_at = $2 WHERE id = $1 AND archived_at IS NULL', [
    id,
    new Date(atMs),
  ])
  return rowCount === 1
}

function couponFromRow(row: CouponRow): Coupon {
  return {
    id: row.id,
    key: row.key,
    name: row.name,
    ...offFromRow(row),
    cycles: row.cycles,
    charges: row.charge_keys,
    redeemByMs: row.redeem_by === null ? null : row.redeem_by.getTime(),
    maxRedemptions: row.max_redemptions,
    redemptions: row.redemptions,
    archivedAtMs: row.archived_at === null ? null : row.archived_at.getTime(),
    createdAtMs: row.created_at.getTime(),
  }
}

export function offFromRow({
  percent,
  amount_minor,
  currency,
}: Pick<CouponRow, 'percent' | 'amount_minor' | 'currency'>): Off {
  if (percent !== null) return { percent, amountMinor: null, currency: null }
  if (amount_minor === null || currency === null) throw new Problem('internal', 'A coupon takes nothing off.')
  return { percent: null, amountMinor: BigInt(amount_minor), currency }
}
