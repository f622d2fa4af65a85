import { Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { MoneyText } from '../../../../schemas/money.ts'
import { creditAlertAnswer } from '../../../collection/credits/credit-alert.ts'
import { listCreditAlerts } from '../../../collection/credits/credit-alerts.postgres.ts'
import { type DoorDeps, Id, Instant, Key, listOf, nextOf, pageMembers, pageOf, strict } from '../shapes.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  customer: 'ann',
  level: '80%',
  base: '39.00',
  used: '31.50',
  available: '7.50',
  currency: 'USD',
  fired_at: '2023-12-16T09:30:12.000Z',
}
const AlertAnswer = Type.Object(
  {
    id: Id,
    customer: Type.String({ description: 'Its external key.' }),
    level: Type.String({ description: "A share of the base that is used, or an amount that is left: '10.00 left'." }),
    base: Type.String({ ...MoneyText, description: 'The balance right behind the latest grant.' }),
    used: Type.String({ ...MoneyText, description: 'The base without what is available.' }),
    available: Type.String({ ...MoneyText, description: 'Below 0 where more is spent than there is.' }),
    currency: Type.String(),
    fired_at: Instant,
  },
  { examples: [example] },
)

/** Levels of prepaid credit that were reached, each once after a grant. */
export function creditAlertsDoor(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/credit-alerts',
    {
      config: { permission: 'billing:credits:read' },
      schema: {
        tags: ['credits'],
        summary: 'List levels of prepaid credit that were reached, the newest first',
        description: 'Webhooks with the topic credit.threshold_reached tell of each as it is reached.',
        querystring: Type.Object(
          { customer: Type.Optional(Type.String({ ...Key, description: 'Id or external key.' })), ...pageMembers },
          strict,
        ),
        response: { 200: listOf('alerts', AlertAnswer, example) },
      },
    },
    async ({ caller, query }) => {
      const page = pageOf(query)
      const filter = { customer: query.customer ?? null }
      const alerts = await deps.transact(caller.tenantId, (tx) => listCreditAlerts(tx, filter, page))
      return { alerts: alerts.map(creditAlertAnswer), next: nextOf(alerts, page) }
    },
  )
}
