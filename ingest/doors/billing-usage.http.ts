import { type Static, Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { QuantityText } from '../../schemas/quantity.ts'
import { exactNumber } from '../billing-view/exact-number.ts'
import { type RecordedUsage, recordBillingUsage } from '../billing-view/record-billing-usage.ts'
import type { ConsumeDeps } from '../quota/consume.ts'
import { Text } from './quota.shapes.ts'

/** With the source of its events the longest that a source may be. */
const LONGEST_ORGANIZATION = 240

const UsageBody = Type.Object(
  {
    user_id: Text('Who used it: the subject of the usage'),
    organization_id: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: LONGEST_ORGANIZATION,
        description:
          'External key or id of a customer. A user of another customer is refused (403 wrong_organization). A user of no ' +
          'customer is recorded and stays nobody’s: the usage is billed once the user is made a subject of a customer. ' +
          'It is kept as the end of the event’s source, billing-usage/<organization_id>.',
      }),
    ),
    usage_type: Text('The slug of a meter that sums one property, or that counts'),
    quantity: Type.Union([Type.Number(), QuantityText], {
      description: 'How much; numbers of more than 15 digits as text. 1 on a meter that counts',
    }),
    metadata: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), {
        description: 'Further fields of the event’s data; the schema of its type says which there are',
      }),
    ),
  },
  {
    additionalProperties: false,
    examples: [
      { user_id: 'user-1', organization_id: 'clinic-7', usage_type: 'conversation_minutes', quantity: 15.5 },
      { user_id: 'user-1', usage_type: 'conversation_minutes', quantity: '15.5', metadata: { channel: 'phone' } },
    ],
  },
)
const UsageAnswer = Type.Object(
  {
    usage_id: Type.String(),
    recorded_at: Type.String(),
    quota_remaining: Type.Union([Type.Number(), Type.String(), Type.Null()], {
      description:
        'Of the limit on this usage type with the smallest share left. A text only where a number would not be exact ' +
        '(more than 15 digits); null: there is no limit, or counters of open limits were away',
    }),
    quota_exceeded: Type.Boolean({ description: 'Usage is beyond a limit that does not refuse' }),
  },
  {
    examples: [
      {
        usage_id: '019a9f0c-2f00-7a3b-8c4d-5e6f70819203',
        recorded_at: '2026-11-20T12:00:00.000Z',
        quota_remaining: 1440.5,
        quota_exceeded: false,
      },
    ],
  },
)
const Headers = Type.Object({
  'idempotency-key': Type.Optional(
    Text(
      'The same key again, for the same organization, is the same usage and counts once. Without one it counts again',
    ),
  ),
})

/** HC-1, and HC-3 for what is refused: everything unforeseen is `billing_calculation_failed`. */
export function billingUsageDoor(app: App, deps: ConsumeDeps): void {
  app.post(
    '/api/v1/billing/usage',
    {
      config: { permission: 'billing:usage:create', failsAs: 'billing_calculation_failed' },
      schema: {
        summary: 'Record usage of a user, and tell what remains of the quota.',
        headers: Headers,
        body: UsageBody,
        response: { 202: UsageAnswer },
      },
    },
    async ({ caller, body, headers }, reply) => {
      const recorded = await recordBillingUsage(deps, caller, body, headers['idempotency-key'])
      return reply.code(202).send(answerOf(recorded))
    },
  )
}

function answerOf({ result, usageId, recordedAt, standing, memberOf }: RecordedUsage): Static<typeof UsageAnswer> {
  const { outcome } = result
  const { quota_remaining: text, quota_exceeded } = standing
  const quota_remaining = text === null ? null : exactNumber(text)
  switch (outcome.outcome) {
    case 'accepted':
      return { usage_id: usageId, recorded_at: recordedAt, quota_remaining, quota_exceeded }
    case 'rejected': {
      const { code, message } = outcome
      const path = memberOf(outcome.path)
      throw new Problem('events_refused', `The usage was refused: ${path} ${message}`, {
        errors: [{ path, message }],
        extra: { reason: code },
      })
    }
    case 'quota_exceeded':
      throw new Problem('quota_exceeded', 'The quota does not cover this usage', {
        extra: { ...standing, quota_remaining },
      })
    default:
      throw new Problem('unavailable', 'The usage was not taken: send it again', { retryAfterSeconds: 1 })
  }
}
