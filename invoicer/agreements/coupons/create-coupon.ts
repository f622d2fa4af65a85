import { isDeepStrictEqual } from 'node:util'
import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { formatMoney, parseMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, isQuantityText, parseQuantity } from '../../../schemas/quantity.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { Coupon, Off } from './coupon.ts'
import { findCoupon, findCouponByKey, insertCoupon, lockCoupon, setArchived } from './coupons.postgres.ts'

/** Either a percentage, or an amount in major units and its currency. */
export type CreateCoupon = Pick<Coupon, 'key' | 'name' | 'cycles' | 'charges' | 'redeemByMs' | 'maxRedemptions'> & {
  percent: string | null
  amount: string | null
  currency: string | null
}

/**
 * Creates a coupon once per key: the same content again answers the stored one, archived or not.
 * @throws Problem invalid_request for what cannot come off an invoice; conflict for other content under the same key.
 */
export async function createCoupon(
  tx: TenantTransaction,
  input: CreateCoupon,
  means: Means,
): Promise<{ coupon: Coupon; created: boolean }> {
  const { key, name, cycles, redeemByMs, maxRedemptions } = input
  const charges = input.charges && [...new Set(input.charges)].sort()
  const content = { key, name, ...offFrom(input), cycles, charges, redeemByMs, maxRedemptions }
  const coupon: Coupon = {
    ...{ id: means.newId(), ...content, redemptions: 0 },
    ...{ archivedAtMs: null, createdAtMs: means.now() },
  }
  if (!(await insertCoupon(tx, coupon))) return { coupon: await storedCoupon(tx, coupon), created: false }
  const data = { coupon_id: coupon.id, key, ...offTexts(coupon), cycles, charges }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'coupon.created', data }], coupon.createdAtMs)
  return { coupon, created: true }
}

/** From now on it is not given any more; discounts by it go on. Again: as it is. @throws Problem not_found. */
export async function archiveCoupon(tx: TenantTransaction, idOrKey: string, means: Means): Promise<Coupon> {
  const { id, key } = await readCoupon(tx, idOrKey)
  const atMs = means.now()
  await lockCoupon(tx, id)
  if (await setArchived(tx, id, atMs)) {
    const data = { coupon_id: id, key }
    await insertBillingEvents(tx, [{ id: means.newId(), event: 'coupon.archived', data }], atMs)
  }
  return readCoupon(tx, id)
}

/** @throws Problem not_found. Another tenant's coupon is not there either. */
export async function readCoupon(tx: TenantTransaction, idOrKey: string): Promise<Coupon> {
  const coupon = await findCoupon(tx, idOrKey)
  if (coupon === undefined) throw new Problem('not_found', 'There is no coupon with this id or key.')
  return coupon
}

/** As the API says what comes off. */
export function offTexts(off: Off): { percent: string | null; amount: string | null; currency: string | null } {
  const amount = off.amountMinor === null ? null : formatMoney(off.amountMinor, off.currency)
  return { percent: off.percent, amount, currency: off.currency }
}

function offFrom({ percent, amount, currency }: CreateCoupon): Off {
  if ((percent === null) === (amount === null)) {
    throw invalid({ path: 'percent', message: 'Give a percentage, or an amount and its currency.' })
  }
  if (percent !== null) {
    if (currency !== null) throw invalid({ path: 'currency', message: 'A percentage has no currency: leave it out.' })
    const part = isQuantityText(percent) ? parseQuantity(percent) : undefined
    if (part === undefined || !part.isPositive() || part.isZero() || part.greaterThan(100)) {
      throw invalid({ path: 'percent', message: 'Above 0 and at most 100, with at most 12 decimals.' })
    }
    return { percent: formatQuantity(part), amountMinor: null, currency: null }
  }
  if (amount === null || currency === null) {
    throw invalid({ path: 'currency', message: 'An amount needs the currency of its customers.' })
  }
  const amountMinor = parseMoney(amount, currency)
  if (amountMinor <= 0n) throw invalid({ path: 'amount', message: 'This must be above 0.' })
  return { percent: null, amountMinor, currency }
}

async function storedCoupon(tx: TenantTransaction, wanted: Coupon): Promise<Coupon> {
  const stored = await findCouponByKey(tx, wanted.key)
  if (stored === undefined) throw new Problem('internal', 'A stored coupon could not be read.')
  if (isDeepStrictEqual(contentOf(stored), contentOf(wanted))) return stored
  throw new Problem(
    'conflict',
    `Coupon ${JSON.stringify(wanted.key)} exists with other content, which never changes: create one with another key.`,
  )
}

function contentOf({ id: _i, redemptions: _r, archivedAtMs: _a, createdAtMs: _c, ...content }: Coupon) {
  return content
}

function invalid(...errors: ProblemError[]): Problem {
  return new Problem('invalid_request', 'The coupon is not valid.', { errors })
}
