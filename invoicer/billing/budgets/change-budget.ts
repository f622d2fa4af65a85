import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { formatMoney, parseMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import {
  deleteBudget,
  findBudget,
  findInCurrency,
  type StoredBudget,
  type SubscriptionInCurrency,
  storeBudget,
} from './budgets.postgres.ts'
import { thresholdText } from './levels.ts'

/** `subscription` is an id or external key; amounts are texts in major units of the plan's currency. */
export type BudgetInput = { subscription: string; amount: string; thresholds: readonly string[] | undefined }

const DEFAULT_THRESHOLDS: readonly string[] = ['50%', '80%', '100%']

/**
 * Sets the budget of a subscription, in place of the one before. What was told of a period is not told again, whatever
 * the new budget says.
 * @throws Problem not_found; invalid_request for what is no amount in the plan's currency.
 */
export async function putBudget(tx: TenantTransaction, input: BudgetInput, means: Means): Promise<StoredBudget> {
  const { id, currency } = await subscriptionOf(tx, input.subscription)
  const errors: ProblemError[] = []
  const read = <T>(path: string, parse: () => T): T[] => {
    try {
      return [parse()]
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      errors.push({ path, message: error.message })
      return []
    }
  }
  const [amountMinor = 0n] = read('amount', () => parseMoney(input.amount, currency))
  const thresholds = (input.thresholds ?? DEFAULT_THRESHOLDS).flatMap((text, place) =>
    read(`thresholds.${place}`, () => thresholdText(text, currency)),
  )
  if (amountMinor < 0n) errors.push({ path: 'amount', message: 'A budget must not be negative.' })
  if (errors.length > 0) throw new Problem('invalid_request', 'The budget is not valid.', { errors })
  const budget: StoredBudget = {
    subscriptionId: id,
    amountMinor,
    currency,
    thresholds: [...new Set(thresholds)],
    updatedAtMs: means.now(),
  }
  await storeBudget(tx, budget)
  const data = { amount: formatMoney(amountMinor, currency), currency, thresholds: budget.thresholds }
  await tell(tx, means, 'budget.set', id, data)
  return budget
}

/** @throws Problem not_found for a subscription or budget that is not there. */
export async function readBudget(tx: TenantTransaction, subscription: string): Promise<StoredBudget> {
  const budget = await findBudget(tx, await subscriptionOf(tx, subscription))
  if (budget === undefined) throw noBudget()
  return budget
}

/** Answers the subscription's id. @throws Problem not_found for a subscription or budget that is not there. */
export async function removeBudget(tx: TenantTransaction, subscription: string, means: Means): Promise<string> {
  const { id } = await subscriptionOf(tx, subscription)
  if (!(await deleteBudget(tx, id))) throw noBudget()
  await tell(tx, means, 'budget.removed', id, {})
  return id
}

async function tell(
  tx: TenantTransaction,
  { newId, now }: Means,
  event: 'budget.set' | 'budget.removed',
  subscriptionId: string,
  data: Record<string, unknown>,
): Promise<void> {
  await insertBillingEvents(tx, [{ id: newId(), event, subscriptionId, data }], now())
}

async function subscriptionOf(tx: TenantTransaction, idOrKey: string): Promise<SubscriptionInCurrency> {
  const found = await findInCurrency(tx, idOrKey)
  if (found === undefined) throw new Problem('not_found', 'There is no subscription with this id or external key.')
  return found
}

function noBudget(): Problem {
  return new Problem('not_found', 'This subscription has no budget.')
}
