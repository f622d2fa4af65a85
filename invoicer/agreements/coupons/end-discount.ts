import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { floorToMinute } from '../../../schemas/time/period.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { Discount } from './coupon.ts'
import { findDiscount, insertEnd } from './discounts.postgres.ts'

/**
 * Ends a discount from a time on, now unless told: invoices of periods that end later do without it, and issued ones
 * keep it. Without a time, or with the same one, again: as it is.
 * @throws Problem not_found; conflict where it ends at another time.
 */
export async function endDiscount(
  tx: TenantTransaction,
  idOrKey: string,
  endMs: number | null,
  means: Means,
): Promise<Discount> {
  const { id, customerId, subscriptionId, couponKey } = await readDiscount(tx, idOrKey)
  const atMs = means.now()
  const wantedMs = floorToMinute(endMs ?? atMs)
  if (!(await insertEnd(tx, id, wantedMs, atMs))) {
    const stored = await readDiscount(tx, id)
    if (endMs === null || stored.endMs === wantedMs) return stored
    const storedText = new Date(stored.endMs ?? atMs).toISOString()
    throw new Problem(
      'conflict',
      `The discount ends at ${storedText}, which never changes: give a new one for after that.`,
    )
  }
  const subjects = { customerId, ...(subscriptionId === null ? {} : { subscriptionId }) }
  const data = { discount_id: id, coupon: couponKey, end: new Date(wantedMs).toISOString() }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'discount.ended', ...subjects, data }], atMs)
  return readDiscount(tx, id)
}

/** @throws Problem not_found. Another tenant's discount is not there either. */
export async function readDiscount(tx: TenantTransaction, idOrKey: string): Promise<Discount> {
  const discount = await findDiscount(tx, idOrKey)
  if (discount === undefined) throw new Problem('not_found', 'There is no discount with this id or external key.')
  return discount
}
