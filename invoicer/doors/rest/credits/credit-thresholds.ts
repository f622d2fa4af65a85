import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import {
  type CustomerThresholds,
  putCreditThresholds,
  readCreditThresholds,
} from '../../../collection/credits/change-thresholds.ts'
import { type DoorDeps, Id, IdParams, Instant, instantTextOrNull, Nullable, strict } from '../shapes.ts'

const levels = { used: ['50%', '80%', '100%'], remaining: ['10.00'] }
const Levels = (pattern: string, description: string) =>
  Type.Array(Type.String({ pattern }), { maxItems: 20, description })
const NewThresholds = Type.Object(
  {
    used: Levels('^0{0,3}([1-9]\\d?|100)%$', 'Shares of the base that are used up, 1% to 100%.'),
    remaining: Levels('^\\d{1,26}(\\.\\d{1,12})?$', "Amounts that are still available, in the customer's currency."),
  },
  { ...strict, examples: [levels] },
)
const ThresholdsAnswer = Type.Object(
  {
    customer_id: Id,
    currency: Type.String(),
    used: Type.Array(Type.String()),
    remaining: Type.Array(Type.String()),
    updated_at: Nullable(Type.String({ ...Instant, description: 'Null: what comes with the first credit.' })),
  },
  {
    examples: [
      {
        customer_id: '01890a5d-ac96-774b-bcce-b302099a8057',
        currency: 'USD',
        ...levels,
        updated_at: '2023-12-01T00:00:00.000Z',
      },
    ],
  },
)

/** At which levels of prepaid credit to tell. */
export function creditThresholdsDoor(app: App, deps: DoorDeps): void {
  const tags = ['credits']
  const url = '/api/v1/customers/:id/credit-thresholds'
  app.put(
    url,
    {
      config: { permission: 'billing:credits:create' },
      schema: {
        tags,
        summary: "Set at which levels of a customer's credit to tell, in place of those before",
        description:
          'Available is the balance without what subscriptions have spent that is not invoiced yet. A level is told once ' +
          'after each grant, within about a minute: at /api/v1/credit-alerts and to webhooks with the topic ' +
          'credit.threshold_reached. A first grant brings 50%, 80% and 100% used; two empty lists are silent.',
        params: IdParams,
        body: NewThresholds,
        response: { 200: ThresholdsAnswer },
      },
    },
    async ({ caller, params, body }) => {
      const input = { customer: params.id, used: body.used, remaining: body.remaining }
      return answer(await deps.transact(caller.tenantId, (tx) => putCreditThresholds(tx, input, deps)))
    },
  )
  app.get(
    url,
    {
      config: { permission: 'billing:credits:read' },
      schema: {
        tags,
        summary: "Read at which levels of a customer's credit it is told",
        params: IdParams,
        response: { 200: ThresholdsAnswer },
      },
    },
    async ({ caller, params }) =>
      answer(await deps.transact(caller.tenantId, (tx) => readCreditThresholds(tx, params.id))),
  )
}

function answer(thresholds: CustomerThresholds): Static<typeof ThresholdsAnswer> {
  return {
    customer_id: thresholds.customerId,
    currency: thresholds.currency,
    used: [...thresholds.used],
    remaining: [...thresholds.remaining],
    updated_at: instantTextOrNull(thresholds.updatedAtMs),
  }
}
