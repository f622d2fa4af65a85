import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import { thresholdText } from '../../billing/budgets/levels.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { findThresholds, storeThresholds } from './thresholds.postgres.ts'
import { type CreditThresholds, DEFAULT_CREDIT_THRESHOLDS } from './thresholds.ts'

/** `updatedAtMs` is null where nothing is stored: these are what a first grant will bring. */
export type CustomerThresholds = CreditThresholds & {
  customerId: string
  currency: string
  updatedAtMs: number | null
}

/**
 * Sets at which levels of a customer's credit to tell, in place of those before; with none it is silent. What was told
 * in the fill is not told again.
 * @throws Problem not_found; invalid_request for what is no share or no amount in the customer's currency.
 */
export async function putCreditThresholds(
  tx: TenantTransaction,
  input: CreditThresholds & { customer: string },
  means: Means,
): Promise<CustomerThresholds> {
  const { id: customerId, currency } = await readCustomer(tx, input.customer)
  const errors: ProblemError[] = []
  const read = (path: string, text: string): string[] => {
    try {
      return [thresholdText(text, currency)]
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      errors.push({ path, message: error.message })
      return []
    }
  }
  const used = [...new Set(input.used.flatMap((text, place) => read(`used.${place}`, text)))]
  const remaining = [...new Set(input.remaining.flatMap((text, place) => read(`remaining.${place}`, text)))]
  if (errors.length > 0) throw new Problem('invalid_request', 'The thresholds are not valid.', { errors })
  const updatedAtMs = means.now()
  await storeThresholds(tx, customerId, { used, remaining }, updatedAtMs)
  const event = { id: means.newId(), event: 'credit.thresholds_set', customerId, data: { used, remaining } } as const
  await insertBillingEvents(tx, [event], updatedAtMs)
  return { customerId, currency, used, remaining, updatedAtMs }
}

/** @throws Problem not_found */
export async function readCreditThresholds(tx: TenantTransaction, customer: string): Promise<CustomerThresholds> {
  const { id: customerId, currency } = await readCustomer(tx, customer)
  const stored = await findThresholds(tx, customerId)
  return { customerId, currency, ...(stored ?? { ...DEFAULT_CREDIT_THRESHOLDS, updatedAtMs: null }) }
}
