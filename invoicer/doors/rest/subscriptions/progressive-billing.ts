import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { formatMoney, MoneyText } from '../../../../schemas/money.ts'
import { putThreshold, readThreshold, removeThreshold } from '../../../billing/progressive/change-threshold.ts'
import type { StoredThreshold } from '../../../billing/progressive/thresholds.postgres.ts'
import { type DoorDeps, Id, IdParams, Instant, instantText, strict } from '../shapes.ts'

const example = {
  subscription_id: '01890a5d-ac96-774b-bcce-b302099a8055',
  threshold: '1000.00',
  currency: 'USD',
  updated_at: '2023-11-16T09:30:00.000Z',
}

const NewThreshold = Type.Object(
  {
    threshold: Type.String({
      ...MoneyText,
      description: 'Above 0, in the currency of the plan; before discounts and tax.',
    }),
  },
  { ...strict, examples: [{ threshold: example.threshold }] },
)

const ThresholdAnswer = Type.Object(
  { subscription_id: Id, threshold: MoneyText, currency: Type.String(), updated_at: Instant },
  { examples: [example] },
)

/** Invoices inside of a period, as its usage comes to a threshold. */
export function progressiveBillingDoor(app: App, deps: DoorDeps): void {
  const tags = ['subscriptions']
  const url = '/api/v1/subscriptions/:id/progressive-billing'
  app.put(
    url,
    {
      config: { permission: 'billing:subscriptions:update' },
      schema: {
        tags,
        summary: 'Have invoices inside of a period, each time its usage comes to a threshold',
        description:
          'When the metered charges of the running period come to the threshold more than was billed of them, the next ' +
          'billing run issues an invoice that has each charge from its first unit on, and takes off what was billed ' +
          'before. The schedule opens such a run by itself. The invoice of the period does the same as the period is ' +
          'over; minimums, commitments, fees and levels are billed by that one alone.',
        params: IdParams,
        body: NewThreshold,
        response: { 200: ThresholdAnswer },
      },
    },
    async ({ caller, params, body }) => {
      const input = { subscription: params.id, threshold: body.threshold }
      return answer(await deps.transact(caller.tenantId, (tx) => putThreshold(tx, input, deps)))
    },
  )
  app.get(
    url,
    {
      config: { permission: 'billing:subscriptions:read' },
      schema: {
        tags,
        summary: 'Read from which amount on a running period has an invoice',
        params: IdParams,
        response: { 200: ThresholdAnswer },
      },
    },
    async ({ caller, params }) => answer(await deps.transact(caller.tenantId, (tx) => readThreshold(tx, params.id))),
  )
  app.delete(
    url,
    {
      config: { permission: 'billing:subscriptions:update' },
      schema: {
        tags,
        summary: 'Have no more invoices inside of periods; what was billed stays billed',
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
      const id = await deps.transact(caller.tenantId, (tx) => removeThreshold(tx, params.id, deps))
      return { subscription_id: id, deleted: true as const }
    },
  )
}

function answer({
  subscriptionId,
  thresholdMinor,
  currency,
  updatedAtMs,
}: StoredThreshold): Static<typeof ThresholdAnswer> {
  return {
    subscription_id: subscriptionId,
    threshold: formatMoney(thresholdMinor, currency),
    currency,
    updated_at: instantText(updatedAtMs),
  }
}
