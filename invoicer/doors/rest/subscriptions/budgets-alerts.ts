import { Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { MoneyText } from '../../../../schemas/money.ts'
import { alertAnswer } from '../../../billing/budgets/spend-alert.ts'
import { listSpendAlerts } from '../../../billing/budgets/spend-alerts.postgres.ts'
import { type DoorDeps, Id, Instant, Key, listOf, nextOf, pageMembers, pageOf, strict } from '../shapes.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  subscription_id: '01890a5d-ac96-774b-bcce-b302099a8055',
  subscription: 'customer-0-llm',
  customer: 'customer-0',
  level: '80%',
  budget: '500.00',
  spent: '412.30',
  currency: 'USD',
  period_start: '2023-11-01T00:00:00.000Z',
  period_end: '2023-12-01T00:00:00.000Z',
  fired_at: '2023-11-16T09:30:12.000Z',
}

const AlertAnswer = Type.Object(
  {
    id: Id,
    subscription_id: Id,
    subscription: Type.String({ description: 'Its external key.' }),
    customer: Type.String({ description: 'Its external key.' }),
    level: Type.String({ description: 'A share of the budget, or an amount.' }),
    budget: Type.String({ ...MoneyText, description: 'When the level was seen to be reached, as is what was spent.' }),
    spent: MoneyText,
    currency: Type.String(),
    period_start: Instant,
    period_end: Instant,
    fired_at: Instant,
  },
  { examples: [example] },
)

/** Levels of budgets that were reached, each once in a billing period. */
export function spendAlertsDoor(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/spend-alerts',
    {
      config: { permission: 'billing:budgets:read' },
      schema: {
        tags: ['budgets'],
        summary: 'List levels of budgets that spend reached, the newest first',
        description: 'Webhooks with the topic spend.threshold_reached tell of each as it is reached.',
        querystring: Type.Object(
          {
            subscription: Type.Optional(Type.String({ ...Key, description: 'Id or external key.' })),
            ...pageMembers,
          },
          strict,
        ),
        response: { 200: listOf('alerts', AlertAnswer, example) },
      },
    },
    async ({ caller, query }) => {
      const page = pageOf(query)
      const filter = { subscription: query.subscription ?? null }
      const alerts = await deps.transact(caller.tenantId, (tx) => listSpendAlerts(tx, filter, page))
      return { alerts: alerts.map(alertAnswer), next: nextOf(alerts, page) }
    },
  )
}
