import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { floorToMinute } from '../../../schemas/time/period.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { readCustomer } from '../customers/read-customer.ts'
import { readSubscription } from '../subscriptions/read-subscription.ts'
import type { Coupon, Discount } from './coupon.ts'
import { findCoupon, lockCoupon, raiseRedemptions } from './coupons.postgres.ts'
import { findDiscountByKey, insertDiscount } from './discounts.postgres.ts'

/** To a subscription, or to all of a customer's; each by id or external key. `startMs` null: from now on. */
export type GiveDiscount = {
  externalKey: string
  coupon: string
  to: { customer: string } | { subscription: string }
  startMs: number | null
}

/**
 * Gives a coupon, once per external key: the same again answers the stored discount, though the coupon could not be given
 * any more. The coupon's row is locked from before it is looked at until it is counted, so never more than its maximum
 * are given, whoever else gives it.
 * @throws Problem not_found; invalid_request for a coupon or time that cannot be; illegal_state where the coupon is archived,
 * too old or used up; conflict for other content under the same key.
 */
export async function giveDiscount(
  tx: TenantTransaction,
  input: GiveDiscount,
  means: Means,
): Promise<{ discount: Discount; created: boolean }> {
  const { customerId, subscriptionId, currency } = await holderOf(tx, input.to)
  const found = await findCoupon(tx, input.coupon)
  const coupon = found && (await lockCoupon(tx, found.id))
  if (coupon === undefined) throw invalid({ path: 'coupon', message: 'There is no such coupon.' })
  const stored = await findDiscountByKey(tx, input.externalKey)
  const createdAtMs = means.now()
  const wanted: Discount = {
    ...{ id: means.newId(), externalKey: input.externalKey, couponId: coupon.id, couponKey: coupon.key },
    ...{ customerId, subscriptionId, startMs: floorToMinute(input.startMs ?? stored?.startMs ?? createdAtMs) },
    ...{ endMs: null, createdAtMs },
  }
  if (stored !== undefined) return { discount: asStored(stored, wanted), created: false }
  refuseWhereOver(coupon, createdAtMs)
  if (coupon.currency !== null && coupon.currency !== currency) {
    throw invalid({ path: 'coupon', message: `It gives ${coupon.currency}, the customer pays in ${currency}.` })
  }
  await raiseRedemptions(tx, coupon.id)
  // Somebody gave another coupon under the key meanwhile; a rollback takes the count back.
  if (!(await insertDiscount(tx, wanted))) throw taken(wanted)
  const data = { discount_id: wanted.id, coupon: coupon.key, start: new Date(wanted.startMs).toISOString() }
  const subjects = { customerId, ...(subscriptionId === null ? {} : { subscriptionId }) }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'discount.given', ...subjects, data }], createdAtMs)
  return { discount: wanted, created: true }
}

async function holderOf(tx: TenantTransaction, to: GiveDiscount['to']) {
  const subscription = 'subscription' in to ? await readSubscription(tx, to.subscription) : null
  const customer = await readCustomer(tx, subscription?.customerId ?? ('customer' in to ? to.customer : ''))
  return { customerId: customer.id, subscriptionId: subscription?.id ?? null, currency: customer.currency }
}

function refuseWhereOver({ key, archivedAtMs, redeemByMs, maxRedemptions, redemptions }: Coupon, nowMs: number): void {
  const why =
    archivedAtMs !== null
      ? 'is archived'
      : redeemByMs !== null && nowMs > redeemByMs
        ? `was to be given by ${new Date(redeemByMs).toISOString()}`
        : maxRedemptions !== null && redemptions >= maxRedemptions
          ? `was given ${redemptions} times, which is its maximum`
          : undefined
  if (why !== undefined) throw new Problem('illegal_state', `Coupon ${JSON.stringify(key)} ${why}: give another one.`)
}

function asStored(stored: Discount, wanted: Discount): Discount {
  const isSame =
    stored.couponId === wanted.couponId &&
    stored.customerId === wanted.customerId &&
    stored.subscriptionId === wanted.subscriptionId &&
    stored.startMs === wanted.startMs
  if (isSame) return stored
  throw taken(wanted)
}

function taken({ externalKey }: Discount): Problem {
  return new Problem('conflict', `Discount ${JSON.stringify(externalKey)} exists with other content.`)
}

function invalid(...errors: ProblemError[]): Problem {
  return new Problem('invalid_request', 'The discount is not valid.', { errors })
}
