import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { formatMoney, isStorable, parseMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { CreditGrant } from './credit.ts'
import { findGrantByKey, insertGrant, lockCreditOf, readBalance } from './credits.postgres.ts'
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
  const wanted = { externalKey, customerId, name, currency, amountMinor, priority, expiresAtMs }
  if (stored !== undefined) return { grant: sameAs(stored, wanted), created: false }
  const createdAtMs = means.now()
  refuse(amountMinor, expiresAtMs, createdAtMs)
  const balanceMinor = (await readBalance(tx, customerId, createdAtMs)) + amountMinor
  const grant = { ...wanted, id: means.newId(), remainingMinor: amountMinor, balanceMinor, createdAtMs }
  if (!isStorable(balanceMinor)) throw invalid({ path: 'amount', message: 'The balance would be too large.' })
  await insertGrant(tx, grant)
  await watchCreditOf(tx, customerId, DEFAULT_CREDIT_THRESHOLDS, createdAtMs)
  const data = { grant_id: grant.id, amount: formatMoney(amountMinor, currency), currency }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'credit.granted', customerId, data }], createdAtMs)
  return { grant, created: true }
}

function refuse(amountMinor: bigint, expiresAtMs: number | null, nowMs: number): void {
  const errors: ProblemError[] = []
  if (amountMinor <= 0n) errors.push({ path: 'amount', message: 'This must be above 0.' })
  if (expiresAtMs !== null && expiresAtMs <= nowMs) errors.push({ path: 'expires_at', message: 'This has passed.' })
  if (errors.length > 0) throw invalid(...errors)
}

function invalid(...errors: ProblemError[]): Problem {
  return new Problem('invalid_request', 'The credit is not valid.', { errors })
}

function sameAs(
  stored: CreditGrant,
  wanted: Omit<CreditGrant, 'id' | 'remainingMinor' | 'balanceMinor' | 'createdAtMs'>,
): CreditGrant {
  const isSame =
    stored.name === wanted.name &&
    stored.amountMinor === wanted.amountMinor &&
    stored.priority === wanted.priority &&
    stored.expiresAtMs === wanted.expiresAtMs
  if (isSame) return stored
  throw new Problem('conflict', `Credit ${JSON.stringify(wanted.externalKey)} exists with other content.`)
}
