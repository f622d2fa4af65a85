import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { formatMoney, parseMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means, Page } from '../../transaction.ts'
import { amountErrors, checkTerms } from '../credits/check-terms.ts'
import { renewIfItCan } from '../credits/renew-credit.ts'
import { listFills } from '../credits/standing.postgres.ts'
import type { CreditScope } from '../credits/terms.ts'
import { watchCreditOf } from '../credits/thresholds.postgres.ts'
import { DEFAULT_CREDIT_THRESHOLDS } from '../credits/thresholds.ts'
import type { Gateway } from '../payments/gateway.ts'
import { openPurchases } from './open-purchases.ts'
import { listPurchases } from './purchases.postgres.ts'
import { findRule, markRemoved, storeRule } from './rules.postgres.ts'
import type { Purchase, TopUpRule } from './top-up.ts'
import { mustPayItself } from './who-pays.ts'

/** `customer` is an id or external key; amounts are texts in major units. */
export type PutRule = Pick<TopUpRule, 'mostPurchases' | 'per' | 'priority' | 'expiresAfterDays'> & {
  customer: string
  threshold: string
  amount: string
  scope: CreditScope | null
}

/**
 * Sets what is bought for a customer by itself, in place of what was before; a suspended rule may buy again. Where the
 * customer has less than the threshold, it buys at once.
 * @throws Problem not_found; invalid_request for an amount or a scope that cannot be; illegal_state where somebody else pays
 * for the customer.
 */
export async function putRule(
  tx: TenantTransaction,
  input: PutRule,
  means: Means,
  gateway: Gateway['name'],
): Promise<TopUpRule> {
  const customer = await readCustomer(tx, input.customer)
  await mustPayItself(tx, customer)
  const { id: customerId, currency } = customer
  const { mostPurchases, per, priority, expiresAfterDays, scope } = input
  const thresholdMinor = parseMoney(input.threshold, currency)
  const amountMinor = parseMoney(input.amount, currency)
  const errors: ProblemError[] = amountErrors(amountMinor)
  if (thresholdMinor < 0n) errors.push({ path: 'threshold', message: 'This must not be below 0.' })
  if (errors.length > 0) throw new Problem('invalid_request', 'The rule is not valid.', { errors })
  await checkTerms(tx, { scope, rollover: null }, currency)
  const atMs = means.now()
  // Schedules and grants are locked before the rule; credit that is due is not bought.
  await renewIfItCan(tx, means, [customerId], atMs)
  const rule: TopUpRule = {
    ...{ customerId, currency, thresholdMinor, amountMinor, mostPurchases, per, priority, expiresAfterDays, scope },
    ...{ declines: 0, retryAtMs: null, suspendedAtMs: null, reason: null, updatedAtMs: atMs },
  }
  await storeRule(tx, rule)
  await watchCreditOf(tx, [customerId], DEFAULT_CREDIT_THRESHOLDS, atMs)
  const data = {
    threshold: formatMoney(thresholdMinor, currency),
    amount: formatMoney(amountMinor, currency),
    currency,
  }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'credit.top_up_set', customerId, data }], atMs)
  // No more than this is available: what is not invoiced yet comes off it.
  const [fill] = await listFills(tx, [customerId], atMs)
  const seen = { customerId, availableMinor: fill?.balanceMinor ?? 0n, grants: fill?.grants ?? 0 }
  await openPurchases(tx, means, gateway, [seen], atMs)
  return rule
}

/** @throws Problem not_found */
export async function readRule(tx: TenantTransaction, customer: string): Promise<TopUpRule> {
  const rule = await findRule(tx, (await readCustomer(tx, customer)).id)
  if (rule === undefined) throw new Problem('not_found', 'No credit is bought for this customer by itself.')
  return rule
}

/** A purchase that is open goes on. Answers the customer's id. @throws Problem not_found */
export async function removeRule(tx: TenantTransaction, customer: string, means: Means): Promise<string> {
  const { id: customerId } = await readCustomer(tx, customer)
  const atMs = means.now()
  if (await markRemoved(tx, customerId, atMs)) {
    const event = { id: means.newId(), event: 'credit.top_up_removed', customerId, data: {} } as const
    await insertBillingEvents(tx, [event], atMs)
  }
  return customerId
}

/** @throws Problem not_found */
export async function readPurchases(tx: TenantTransaction, customer: string, page: Page): Promise<Purchase[]> {
  return listPurchases(tx, (await readCustomer(tx, customer)).id, page)
}
