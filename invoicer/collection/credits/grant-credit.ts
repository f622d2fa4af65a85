import { isDeepStrictEqual } from 'node:util'
import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { formatMoney, isStorable, parseMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { amountErrors, checkTerms } from './check-terms.ts'
import type { CreditGrant } from './credit.ts'
import { findGrantByKey, insertGrants, lockCreditOf, readBalance } from './credits.postgres.ts'
import { renewIfItCan } from './renew-credit.ts'
import type { CreditScope, Rollover } from './terms.ts'
import { watchCreditOf } from './thresholds.postgres.ts'
import { DEFAULT_CREDIT_THRESHOLDS } from './thresholds.ts'

/** `customer` is an id or external key; the amount is a text in major units of the customer's currency. */
export type GrantCredit = {
  externalKey: string
  customer: string
  name: string | null
  amount: string
  priority: number
  expiresAtMs: number | null
  scope?: CreditScope | null
  rollover?: Rollover | null
}

/**
 * Gives a customer prepaid credit, once per external key of the customer: the same content again answers the stored
 * grant. From it on levels of the credit are told anew.
 * @throws Problem not_found; invalid_request for an amount or a time that cannot be; conflict for other content under
 * the same key.
 */
export async function grantCredit(
  tx: TenantTransaction,
  input: GrantCredit,
  means: Means,
): Promise<{ grant: CreditGrant; created: boolean }> {
  const customer = await readCustomer(tx, input.customer)
  const { id: customerId, currency } = customer
  const amountMinor = parseMoney(input.amount, currency)
  await lockCreditOf(tx, customerId)
  const stored = await findGrantByKey(tx, customerId, input.externalKey)
  const { externalKey, name, priority, expiresAtMs } = input
  const terms = { scope: input.scope ?? null, rollover: input.rollover ?? null }
  const wanted = { externalKey, customerId, name, currency, amountMinor, priority, expiresAtMs, ...terms }
  if (stored !== undefined) return { grant: sameAs(stored, wanted), created: false }
  const createdAtMs = means.now()
  refuse(wanted, createdAtMs)
  await checkTerms(tx, terms, currency)
  // What is due comes before, and counts: levels are told by the balance right behind the latest grant.
  await renewIfItCan(tx, means, [customerId], createdAtMs)
  const balanceMinor = (await readBalance(tx, customerId, createdAtMs)) + amountMinor
  const origin = { scheduleId: null, scheduleIndex: null, rolledFrom: null, purchaseId: null }
  const grant = { ...wanted, ...origin, id: means.newId(), remainingMinor: amountMinor, balanceMinor, createdAtMs }
  if (!isStorable(balanceMinor)) throw invalid({ path: 'amount', message: 'The balance would be too large.' })
  await insertGrants(tx, [grant])
  await watchCreditOf(tx, [customerId], DEFAULT_CREDIT_THRESHOLDS, createdAtMs)
  const data = { grant_id: grant.id, amount: formatMoney(amountMinor, currency), currency }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'credit.granted', customerId, data }], createdAtMs)
  return { grant, created: true }
}

type Wanted = Pick<CreditGrant, 'name' | 'amountMinor' | 'priority' | 'expiresAtMs' | 'scope' | 'rollover'>

function refuse({ amountMinor, expiresAtMs, rollover }: Wanted, nowMs: number): void {
  const errors = amountErrors(amountMinor)
  if (expiresAtMs !== null && expiresAtMs <= nowMs) errors.push({ path: 'expires_at', message: 'This has passed.' })
  if (rollover !== null && expiresAtMs === null) {
    errors.push({ path: 'rollover', message: 'What never expires does not roll over: give expires_at as well.' })
  }
  if (rollover !== null && rollover.expires_after_days === null) {
    errors.push({ path: 'rollover.expires_after_days', message: 'Say after how many days what rolls over expires.' })
  }
  if (errors.length > 0) throw invalid(...errors)
}

function invalid(...errors: ProblemError[]): Problem {
  return new Problem('invalid_request', 'The credit is not valid.', { errors })
}

function sameAs(stored: CreditGrant, wanted: Wanted): CreditGrant {
  const of = ({ name, amountMinor, priority, expiresAtMs, scope, rollover }: Wanted): Wanted => {
    return { name, amountMinor, priority, expiresAtMs, scope, rollover }
  }
  if (isDeepStrictEqual(of(stored), of(wanted))) return stored
  throw new Problem('conflict', `Credit ${JSON.stringify(stored.externalKey)} exists with other content.`)
}
