import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { formatMoney, MoneyText } from '../../../../schemas/money.ts'
import type { StoredBudget } from '../../../billing/budgets/budgets.postgres.ts'
import { putBudget, readBudget, removeBudget } from '../../../billing/budgets/change-budget.ts'
import { type DoorDeps, Id, IdParams, Instant, instantText, strict } from '../shapes.ts'

const example = {
  subscription_id: '01890a5d-ac96-774b-bcce-b302099a8055',
  amount: '500.00',
  currency: 'USD',
  thresholds: ['50%', '80%', '100%', '250.00'],
  updated_at: '2023-11-16T09:30:00.000Z',
}

const NewBudget = Type.Object(
  {
    amount: Type.String({ ...MoneyText, description: 'For a billing period, in the currency of the plan.' }),
    thresholds: Type.Optional(
      Type.Array(Type.String({ pattern: '^(\\d{1,4}%|\\d{1,26}(\\.\\d{1,12})?)$' }), {
        minItems: 1,
        maxItems: 20,
        description: 'Levels at which to tell: shares of the amount, or amounts. By default 50%, 80% and 100%.',
      }),
    ),
  },
  { ...strict, examples: [{ amount: example.amount, thresholds: example.thresholds }] },
)

const BudgetAnswer = Type.Object(
  {
    subscription_id: Id,
    amount: MoneyText,
    currency: Type.String(),
    thresholds: Type.Array(Type.String()),
    updated_at: Instant,
  },
  { examples: [example] },
)

/** Budgets of subscriptions: at which spend to tell. They refuse nothing; that is what quotas are for. */
export function budgetsDoor(app: App, deps: DoorDeps): void {
  const tags = ['budgets']
  const url = '/api/v1/subscriptions/:id/budget'
  app.put(
    url,
    {
      config: { permission: 'billing:budgets:create' },
      schema: {
        tags,
        summary: 'Set the budget of a subscription, and be told as its spend reaches levels of it',
        description:
          'Spend is the total of the coming invoice (see preview). A level is told once in a billing period, within about ' +
          'a minute: at /api/v1/spend-alerts and to webhooks with the topic spend.threshold_reached. A budget that is ' +
          'raised tells nothing again in the period.',
        params: IdParams,
        body: NewBudget,
        response: { 200: BudgetAnswer },
      },
    },
    async ({ caller, params, body }) => {
      const input = { subscription: params.id, amount: body.amount, thresholds: body.thresholds }
      return answer(await deps.transact(caller.tenantId, (tx) => putBudget(tx, input, deps)))
    },
  )
  app.get(
    url,
    {
      config: { permission: 'billing:budgets:read' },
      schema: { tags, summary: 'Read the budget of a subscription', params: IdParams, response: { 200: BudgetAnswer } },
    },
    async ({ caller, params }) => answer(await deps.transact(caller.tenantId, (tx) => readBudget(tx, params.id))),
  )
  app.delete(
    url,
    {
      config: { permission: 'billing:budgets:create' },
      schema: {
        tags,
        summary: 'Remove the budget of a subscription; what was told stays told',
        params: IdParams,
        response: {
          200: Type.Object(
            { subscription_id: Id, deleted: Type.Literal(true) },
            { examples: [{ subscription_id: example.subscription_id, deleted: true }] },
          ),
        },
      },
    },
    async ({ caller, params }) => {
      const id = await deps.transact(caller.tenantId, (tx) => removeBudget(tx, params.id, deps))
      return { subscription_id: id, deleted: true as const }
    },
  )
}

function answer(budget: StoredBudget): Static<typeof BudgetAnswer> {
  return {
    subscription_id: budget.subscriptionId,
    amount: formatMoney(budget.amountMinor, budget.currency),
    currency: budget.currency,
    thresholds: [...budget.thresholds],
    updated_at: instantText(budget.updatedAtMs),
  }
}
