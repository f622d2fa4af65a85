import { Type } from 'typebox'

const NOTHING_ELSE = { additionalProperties: false }
const limit = Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 }))
const place = { log: 'aggregated', partition: 3, offset: 17 }

export const DeadLettersQuery = Type.Object({ limit }, NOTHING_ELSE)
export const DeadLetters = Type.Object(
  {
    dead_letters: Type.Array(
      Type.Object({
        log: Type.String(),
        partition: Type.Integer(),
        offset: Type.String(),
        known_at: Type.String(),
        reason: Type.String(),
        bytes_base64: Type.String(),
      }),
    ),
  },
  { examples: [{ dead_letters: [] }] },
)

export const ReplayBody = Type.Object(
  {
    all: Type.Optional(Type.Boolean({ description: 'The oldest 1,000; `waiting` says whether to ask again' })),
    log: Type.Optional(Type.String()),
    partition: Type.Optional(Type.Integer({ minimum: 0 })),
    offset: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  },
  { ...NOTHING_ELSE, examples: [{ all: true }, place] },
)
export const ReplayAnswer = Type.Object(
  {
    replayed: Type.Integer(),
    events: Type.Integer({ description: 'In the records that were replayed, copies included' }),
    unreadable: Type.Integer(),
    waiting: Type.Integer({ description: 'Dead letters that are left' }),
    records: Type.Array(
      Type.Object({
        log: Type.String(),
        partition: Type.Integer(),
        offset: Type.Integer(),
        outcome: Type.String({ description: 'replayed or unreadable' }),
        events: Type.Optional(Type.Integer()),
        reason: Type.Optional(Type.String()),
      }),
    ),
  },
  {
    examples: [
      {
        replayed: 1,
        events: 250,
        unreadable: 0,
        waiting: 0,
        records: [{ ...place, outcome: 'replayed', events: 250 }],
      },
    ],
  },
)

const copy = {
  type: 'llm.request',
  subject: 'customer-1',
  time: '2026-11-20T12:00:00.000Z',
  data: '{"tokens":1}',
  known_at: '2026-11-20T12:00:01.000Z',
}
const Copy = Type.Object({
  type: Type.String(),
  subject: Type.String(),
  time: Type.String(),
  data: Type.String(),
  known_at: Type.String(),
})
export const ConflictsQuery = Type.Object(
  {
    limit,
    cursor: Type.Optional(Type.String({ maxLength: 1_024, description: 'The `next` of the page before' })),
    from: Type.Optional(
      Type.String({ description: 'RFC 3339: when the contradicting copy became known. Saves time.' }),
    ),
    to: Type.Optional(Type.String({ description: 'RFC 3339; not included' })),
  },
  NOTHING_ELSE,
)
export const Conflicts = Type.Object(
  {
    event_conflicts: Type.Array(
      Type.Object({ source: Type.String(), id: Type.String(), counted: Copy, latest: Copy, payloads: Type.Integer() }),
    ),
    next: Type.Union([Type.String(), Type.Null()]),
  },
  {
    examples: [
      {
        event_conflicts: [
          { source: 'api-gateway', id: 'a-1', counted: copy, latest: { ...copy, data: '{"tokens":2}' }, payloads: 2 },
        ],
        next: null,
      },
    ],
  },
)
