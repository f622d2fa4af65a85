import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney, parseMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { reviseSubscription } from '../../agreements/subscriptions/revise-subscription.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { findInCurrency, type SubscriptionInCurrency } from '../budgets/budgets.postgres.ts'
import { deleteThreshold, findThreshold, type StoredThreshold, storeThreshold } from './thresholds.postgres.ts'

/**
 * Sets the threshold of a subscription, in place of the one before; the same again changes nothing. A run that is rating
 * the subscription meanwhile rates it again: it may not know of progressive invoices yet.
 * @throws Problem not_found; invalid_request for what is no amount above 0 in its currency.
 */
export async function putThreshold(
  tx: TenantTransaction,
  input: { subscription: string; threshold: string },
  means: Means,
): Promise<StoredThreshold> {
  const { id: subscriptionId, currency } = await subscriptionOf(tx, input.subscription)
  const thresholdMinor = amountOf(input.threshold, currency)
  const stored = await findThreshold(tx, subscriptionId)
  if (stored?.thresholdMinor === thresholdMinor) return stored
  await reviseSubscription(tx, subscriptionId)
  const one = { subscriptionId, thresholdMinor, updatedAtMs: means.now() }
  await storeThreshold(tx, one)
  const data = { change: 'progressive_billing_set', threshold: formatMoney(thresholdMinor, currency), currency }
  await tell(tx, means, subscriptionId, data)
  return { ...one, currency }
}

/** @throws Problem not_found for a subscription or threshold that is not there. */
export async function readThreshold(tx: TenantTransaction, subscription: string): Promise<StoredThreshold> {
  const { id } = await subscriptionOf(tx, subscription)
  const threshold = await findThreshold(tx, id)
  if (threshold === undefined) throw noThreshold()
  return threshold
}

/** Answers the subscription's id; what was billed stays billed. @throws Problem not_found, as above. */
export async function removeThreshold(tx: TenantTransaction, subscription: string, means: Means): Promise<string> {
  const { id } = await subscriptionOf(tx, subscription)
  if (!(await deleteThreshold(tx, id))) throw noThreshold()
  await tell(tx, means, id, { change: 'progressive_billing_removed' })
  return id
}

async function tell(
  tx: TenantTransaction,
  { newId, now }: Means,
  subscriptionId: string,
  data: Record<string, unknown>,
): Promise<void> {
  await insertBillingEvents(tx, [{ id: newId(), event: 'subscription.updated', subscriptionId, data }], now())
}

function amountOf(threshold: string, currency: string): bigint {
  const refused = (message: string) =>
    new Problem('invalid_request', 'The threshold is not valid.', { errors: [{ path: 'threshold', message }] })
  let thresholdMinor: bigint
  try {
    thresholdMinor = parseMoney(threshold, currency)
  } catch (error) {
    if (error instanceof Problem) throw refused(error.message)
    throw error
  }
  if (thresholdMinor <= 0n) throw refused('This must be above 0.')
  return thresholdMinor
}

async function subscriptionOf(tx: TenantTransaction, idOrKey: string): Promise<SubscriptionInCurrency> {
  const found = await findInCurrency(tx, idOrKey)
  if (found === undefined) throw new Problem('not_found', 'There is no subscription with this id or external key.')
  return found
}

function noThreshold(): Problem {
  return new Problem('not_found', 'This subscription has no progressive billing.')
}
