import { Type } from 'typebox'

const Reason = Type.String({ minLength: 1, maxLength: 500, description: 'Why, for whoever looks at it later' })
const OperationId = Type.String({
  minLength: 1,
  maxLength: 128,
  description: 'A repeat that carries it is the same operation; the header Idempotency-Key says the same',
})
const Replacement = Type.Object(
  {
    type: Type.String(),
    subject: Type.String(),
    time: Type.String({ description: 'RFC 3339' }),
    data: Type.Unknown({ description: 'As the schema of the type says' }),
  },
  { additionalProperties: false },
)
const MANY = { minItems: 1, maxItems: 1_000 }
const NOTHING_ELSE = { additionalProperties: false }
const target = { source: Type.String(), id: Type.String(), reason: Type.Optional(Reason) }
const replaced = { ...target, event: Replacement }

export const Filter = Type.Object(
  {
    type: Type.Optional(Type.String({ minLength: 1 })),
    subject: Type.Optional(Type.String({ minLength: 1 })),
    source: Type.Optional(Type.String({ minLength: 1 })),
    from: Type.String({ description: 'RFC 3339; of the time that events count at' }),
    to: Type.String({ description: 'RFC 3339; not included' }),
  },
  NOTHING_ELSE,
)

const one = { source: 'api-gateway', id: '0198f4e2-7c3e-7b1a-9d55-0d3a6a6f1c11', reason: 'sent by a test' }
const filter = { type: 'llm.request', subject: 'customer-1', from: '2026-11-01T00:00:00Z', to: '2026-11-02T00:00:00Z' }

/** One event (source, id), several (events) or those of a filter. */
export const VoidBody = Type.Object(
  {
    source: Type.Optional(Type.String()),
    id: Type.Optional(Type.String()),
    events: Type.Optional(Type.Array(Type.Object(target, NOTHING_ELSE), MANY)),
    filter: Type.Optional(Filter),
    dry_run: Type.Optional(Type.Boolean({ description: 'With a filter: count, and void nothing' })),
    expected_count: Type.Optional(Type.Integer({ minimum: 0, description: 'What a dry run counted' })),
    reason: Type.Optional(Reason),
    operation_id: Type.Optional(OperationId),
  },
  {
    ...NOTHING_ELSE,
    examples: [one, { events: [one] }, { filter, dry_run: true }, { filter, expected_count: 12, reason: one.reason }],
  },
)

const event = {
  type: 'llm.request',
  subject: 'customer-2',
  time: '2026-11-20T12:00:00Z',
  data: { context_tokens: 374, generated_tokens: 44 },
}
export const ReplaceBody = Type.Object(
  {
    source: Type.Optional(Type.String()),
    id: Type.Optional(Type.String()),
    event: Type.Optional(Replacement),
    events: Type.Optional(Type.Array(Type.Object(replaced, NOTHING_ELSE), MANY)),
    reason: Type.Optional(Reason),
    operation_id: Type.Optional(OperationId),
  },
  { ...NOTHING_ELSE, examples: [{ ...one, reason: 'billed to the wrong customer', event }] },
)

const operation = { operation_id: '0f6f8c1e-3e0e-4d6c-9a3e-3f1f0a5c7b10' }
export const CorrectionAnswer = Type.Object(
  {
    operation_id: Type.String(),
    accepted: Type.Integer(),
    duplicate: Type.Integer(),
    rejected: Type.Integer(),
    failed: Type.Integer(),
    outcomes: Type.Array(
      Type.Object({
        index: Type.Integer(),
        id: Type.Optional(Type.String()),
        outcome: Type.String(),
        code: Type.Optional(Type.String()),
        path: Type.Optional(Type.String()),
        message: Type.Optional(Type.String()),
        retryable: Type.Optional(Type.Boolean()),
      }),
      { description: 'One per event that the request named; none for a filter' },
    ),
  },
  {
    examples: [
      {
        ...operation,
        accepted: 1,
        duplicate: 0,
        rejected: 0,
        failed: 0,
        outcomes: [{ index: 0, id: one.id, outcome: 'accepted' }],
      },
    ],
  },
)

const payload = { type: 'llm.request', subject: 'customer-1', time: '2026-11-20T12:00:00.000Z', data: '{"tokens":1}' }
const known_at = '2026-11-20T12:00:01.000Z'
const Payload = {
  type: Type.String(),
  subject: Type.String(),
  time: Type.String(),
  data: Type.String({ description: 'JSON text, as it is stored' }),
}
const Operation = {
  operation_id: Type.String(),
  kind: Type.String({ description: 'void or replace' }),
  reason: Type.String(),
  by: Type.String({ description: 'The public part of the key that asked' }),
  known_at: Type.String(),
  event: Type.Optional(Type.Object(Payload)),
}
const { id, source, reason } = one
const said = { ...operation, kind: 'void', reason, by: 'k1', known_at }

export const DryRunAnswer = Type.Object(
  {
    count: Type.Integer(),
    sample: Type.Array(Type.Object({ source: Type.String(), id: Type.String(), ...Payload, known_at: Type.String() }), {
      description: 'The first ten by time',
    }),
  },
  { examples: [{ count: 1, sample: [{ source, id, ...payload, known_at }] }] },
)

export const HistoryQuery = Type.Object({ source: Type.String(), id: Type.String() }, NOTHING_ELSE)
export const HistoryAnswer = Type.Object(
  {
    source: Type.String(),
    id: Type.String(),
    state: Type.String({ description: 'counts, voided, or waits: an operation is known and the event is not' }),
    event: Type.Optional(Type.Object(Payload, { description: 'As it counts now' })),
    copies: Type.Array(Type.Object({ ...Payload, time_given: Type.Boolean(), known_at: Type.String() }), {
      description: 'Those that differ in payload, the first known first; without an operation that one counts',
    }),
    operations: Type.Array(Type.Object(Operation), {
      description: 'In the order they became known: the last one counts',
    }),
  },
  {
    examples: [
      { source, id, state: 'voided', copies: [{ ...payload, time_given: true, known_at }], operations: [said] },
    ],
  },
)

export const WaitingQuery = Type.Object(
  { limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 })) },
  NOTHING_ELSE,
)
export const WaitingAnswer = Type.Object(
  { waiting: Type.Array(Type.Object({ source: Type.String(), id: Type.String(), ...Operation })) },
  { examples: [{ waiting: [{ source, id, ...said }] }] },
)
