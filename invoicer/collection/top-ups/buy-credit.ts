import { isDeepStrictEqual } from 'node:util'
import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney, isStorable, parseMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { amountErrors, checkTerms } from '../credits/check-terms.ts'
import { lockCreditOf, readBalance } from '../credits/credits.postgres.ts'
import { renewIfItCan } from '../credits/renew-credit.ts'
import type { Gateway } from '../payments/gateway.ts'
import { findPurchaseByKey, insertPurchase } from './purchases.postgres.ts'
import type { Purchase } from './top-up.ts'
import { mustPayItself } from './who-pays.ts'

/** `customer` is an id or external key; the amount is a text in major units of the customer's currency. */
export type BuyCredit = Pick<Purchase, 'priority' | 'expiresAfterDays' | 'scope'> & {
  externalKey: string
  customer: string
  amount: string
}

/**
 * Opens a purchase of credit that somebody asked for, once per external key of the customer: the same content again
 * answers the stored one, whatever became of it. The gateway is asked behind this transaction (charge-purchases.ts); what
 * it takes is credit and an invoice at once.
 * @throws Problem not_found; invalid_request for an amount or a scope that cannot be; conflict for other content under the
 * same key, and while another purchase of the customer is open; illegal_state where somebody else pays for the customer.
 */
export async function buyCredit(
  tx: TenantTransaction,
  input: BuyCredit,
  means: Means,
  gateway: Gateway['name'],
): Promise<{ purchase: Purchase; created: boolean }> {
  const customer = await readCustomer(tx, input.customer)
  const { id: customerId, currency } = customer
  const { externalKey, priority, expiresAfterDays, scope } = input
  const amountMinor = parseMoney(input.amount, currency)
  const wanted = { customerId, currency, amountMinor, priority, expiresAfterDays, scope }
  await lockCreditOf(tx, customerId)
  const stored = await findPurchaseByKey(tx, customerId, externalKey)
  if (stored !== undefined) return { purchase: sameAs(stored, wanted), created: false }
  await mustPayItself(tx, customer)
  const errors = amountErrors(amountMinor)
  if (errors.length > 0) throw new Problem('invalid_request', 'The purchase is not valid.', { errors })
  await checkTerms(tx, { scope, rollover: null }, currency)
  const createdAtMs = means.now()
  await renewIfItCan(tx, means, [customerId], createdAtMs)
  const availableMinor = await readBalance(tx, customerId, createdAtMs)
  if (!isStorable(availableMinor + amountMinor)) {
    throw new Problem('invalid_request', 'With it the balance would be too large.')
  }
  const open = { state: 'created', reference: null, reason: null, settledAtMs: null, invoiceId: null } as const
  const purchase: Purchase = {
    ...{ ...wanted, ...open, id: means.newId(), externalKey, availableMinor, gateway, createdAtMs },
  }
  if (!(await insertPurchase(tx, purchase))) {
    throw new Problem('conflict', 'A purchase of this customer is open: try again when the gateway has answered it.')
  }
  const [amount, available] = [amountMinor, availableMinor].map((minor) => formatMoney(minor, currency))
  const data = { purchase_id: purchase.id, amount, available, currency, gateway, external_key: externalKey }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'credit.top_up_opened', customerId, data }], createdAtMs)
  return { purchase, created: true }
}

type Wanted = Pick<Purchase, 'customerId' | 'currency' | 'amountMinor' | 'priority' | 'expiresAfterDays' | 'scope'>

function sameAs(stored: Purchase, wanted: Wanted): Purchase {
  const { customerId, currency, amountMinor, priority, expiresAfterDays, scope } = stored
  const content: Wanted = { customerId, currency, amountMinor, priority, expiresAfterDays, scope }
  if (isDeepStrictEqual(content, wanted)) return stored
  throw new Problem('conflict', `Purchase ${JSON.stringify(stored.externalKey)} exists with other content.`)
}
