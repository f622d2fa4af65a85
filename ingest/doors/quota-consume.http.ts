import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { CONSUME_SOURCE, type ConsumeDeps, type Consumed, consumeQuota } from '../quota/consume.ts'
import { settleHold } from '../quota/settle.ts'
import { EXAMPLE_HOLD_ID, EXAMPLE_STANDING, OnlyKey, Subject, standing, Text } from './quota.shapes.ts'

const Members = Type.Record(Type.String(), Type.Unknown())
const ConsumeBody = Type.Object(
  {
    subject: Subject,
    type: Text('A registered event type'),
    data: { ...Members, description: 'The event’s data' },
    time: Type.Optional(Type.String({ description: 'RFC 3339; that of arrival when not given' })),
    source: Type.Optional(Text('With the key it is the event’s identity; /consume when not given')),
    hold_id: Type.Optional(Text('A hold to draw from first')),
  },
  {
    additionalProperties: false,
    examples: [{ subject: 'customer-1', type: 'llm.request', data: { context_tokens: 374, generated_tokens: 44 } }],
  },
)
const consumed = {
  event_id: Type.String(),
  outcome: Type.Union([Type.Literal('accepted'), Type.Literal('duplicate')], {
    description: 'duplicate: it drew before. Where there is no limit, copies are only found when they are stored',
  }),
  ...standing,
}
const example = { event_id: 'request-4711', outcome: 'accepted' as const, ...EXAMPLE_STANDING }
const ConsumeAnswer = Type.Object(consumed, { examples: [example] })
const SettleBody = Type.Object(
  { hold_id: Text('Of a reservation'), event: { ...Members, description: 'A CloudEvent' } },
  {
    additionalProperties: false,
    examples: [
      {
        hold_id: EXAMPLE_HOLD_ID,
        event: {
          ...{ specversion: '1.0', id: 'request-4711', source: 'api-gateway', type: 'llm.request' },
          ...{ subject: 'customer-1', data: { context_tokens: 374, generated_tokens: 44 } },
        },
      },
    ],
  },
)
const SettleAnswer = Type.Object(
  { hold_id: Type.String(), released: Type.String({ description: 'What was left of the hold' }), ...consumed },
  { examples: [{ hold_id: EXAMPLE_HOLD_ID, released: '26', ...example }] },
)

export function quotaConsumeDoor(app: App, deps: ConsumeDeps): void {
  app.post(
    '/api/v1/quota/consume',
    {
      config: { permission: 'billing:usage:create' },
      schema: {
        summary: 'Ingest one event, whose id is the Idempotency-Key, if the limits allow it.',
        headers: OnlyKey,
        body: ConsumeBody,
        response: { 202: ConsumeAnswer },
      },
    },
    async ({ caller, body, headers }, reply) => {
      const { hold_id, source = CONSUME_SOURCE, ...rest } = body
      const event = { specversion: '1.0', id: headers['idempotency-key'], source, ...rest, tallyhold: hold_id }
      return reply.code(202).send(answerOf(await consumeQuota(deps, caller, event), memberOfConsume))
    },
  )
  app.post(
    '/api/v1/quota/settle',
    {
      config: { permission: 'billing:quotas:consume' },
      schema: {
        summary:
          'End a reservation with the event it was for: recorded even beyond the limit. Needs billing:usage:create too.',
        body: SettleBody,
        response: { 202: SettleAnswer },
      },
    },
    async ({ caller, body: { hold_id, event } }, reply) => {
      // Otherwise usage could be sent with a permission that is not for it.
      if (!caller.permissions.has('billing:usage:create'))
        throw new Problem('forbidden', `This needs the permission 'billing:usage:create', which the key lacks.`)
      const { released, ...settled } = await settleHold(deps, caller, hold_id, event)
      return reply.code(202).send({ hold_id, released, ...answerOf(settled, memberOfSettle) })
    },
  )
}

/** Where the request of a door has what its event calls otherwise. */
type MemberOf = (path: string) => string

const CONSUME_MEMBERS: Readonly<Record<string, string>> = { id: 'Idempotency-Key', tallyhold: 'hold_id' }
const memberOfConsume: MemberOf = (path) => CONSUME_MEMBERS[path] ?? path
const memberOfSettle: MemberOf = (path) => (path === 'tallyhold' ? 'hold_id' : `event.${path}`)

function answerOf({ result, duplicate, standing }: Consumed, memberOf: MemberOf) {
  const { outcome } = result
  switch (outcome.outcome) {
    case 'accepted':
      return { event_id: outcome.id, outcome: duplicate ? ('duplicate' as const) : outcome.outcome, ...standing }
    case 'rejected': {
      const { code, path, message } = outcome
      const member = memberOf(path)
      const errors = [{ path: member, message }]
      throw new Problem('events_refused', `The event was refused: ${member} ${message}`, {
        errors,
        extra: { reason: code },
      })
    }
    case 'quota_exceeded':
      throw new Problem('quota_exceeded', 'The quota does not cover this event', { extra: standing })
    default:
      throw new Problem('unavailable', 'The event was not taken: send it again', { retryAfterSeconds: 1 })
  }
}
