import { Type } from 'typebox'
import { TOPICS } from '../webhooks/message.ts'

const Instant = Type.String({ format: 'date-time' })
const Id = Type.String({ format: 'uuid' })

const example = {
  name: 'alerts',
  url: 'https://hooks.example.com/tallyline',
  topics: [TOPICS[0]],
  created_at: '2026-11-20T12:00:00.000Z',
}
const exampleDelivery = {
  event_id: '0198f4e2-7c3e-7b1a-9d55-0d3a6a6f1c11',
  topic: TOPICS[0],
  state: 'waiting' as const,
  attempts: 1,
  next_attempt_at: '2026-11-20T12:00:05.000Z',
  last_error: 'answered 500',
  created_at: '2026-11-20T12:00:00.000Z',
  ended_at: null,
  taken_by: [],
  payload: { type: TOPICS[0], timestamp: '2026-11-20T12:00:00.000Z', data: { level: '80%' } },
}

export const NamePath = Type.Object({ name: Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,62}$' }) })
export const WebhookBody = Type.Object(
  {
    url: Type.String({ minLength: 1, maxLength: 2_048, description: 'https, and not on a private address; or mailto' }),
    topics: Type.Array(Type.Enum(TOPICS), { minItems: 1, maxItems: 16 }),
  },
  { additionalProperties: false, examples: [{ url: example.url, topics: example.topics }] },
)

const members = {
  name: Type.String(),
  url: Type.String(),
  topics: Type.Array(Type.String()),
  created_at: Instant,
}
export const WebhookAnswer = Type.Object(members, { examples: [example] })
export const NewWebhookAnswer = Type.Object(
  {
    ...members,
    secret: Type.String({ description: 'Shown this once. Verify deliveries with it: Standard Webhooks, v1' }),
  },
  { examples: [{ ...example, secret: 'whsec_C2FtcGxlLXNlY3JldC1vZi0zMi1ieXRlcy1sb25nLWE=' }] },
)
export const WebhooksAnswer = Type.Object(
  { webhooks: Type.Array(WebhookAnswer) },
  { examples: [{ webhooks: [example] }] },
)
export const DeletedAnswer = Type.Object(
  { name: Type.String(), deleted: Type.Literal(true) },
  { examples: [{ name: example.name, deleted: true }] },
)
export const TestAnswer = Type.Object({ event_id: Id }, { examples: [{ event_id: exampleDelivery.event_id }] })

export const PageQuery = Type.Object(
  {
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 999 })),
    cursor: Type.Optional(Type.String({ format: 'uuid', description: 'The `next` of the page before' })),
  },
  { additionalProperties: false },
)
export const DeliveriesAnswer = Type.Object(
  {
    deliveries: Type.Array(
      Type.Object({
        event_id: Type.String({ description: 'webhook-id of every attempt' }),
        topic: Type.String(),
        state: Type.Union([Type.Literal('waiting'), Type.Literal('delivered'), Type.Literal('failed')]),
        attempts: Type.Integer(),
        next_attempt_at: Type.Union([Instant, Type.Null()]),
        last_error: Type.Union([Type.String(), Type.Null()]),
        created_at: Instant,
        ended_at: Type.Union([Instant, Type.Null()]),
        taken_by: Type.Array(Type.String(), { description: 'The mail addresses that have taken it' }),
        payload: Type.Unknown({ description: 'What is sent' }),
      }),
    ),
    next: Type.Union([Id, Type.Null()]),
  },
  { examples: [{ deliveries: [exampleDelivery], next: null }] },
)
