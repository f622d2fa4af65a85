import { Type } from 'typebox'

const Text = (maxLength: number, description: string) =>
  Type.String({ minLength: 1, maxLength, pattern: '^[^\\p{Cc}\\p{Cs}]*$', description })
const Instant = Type.String({ format: 'date-time' })
const Id = Type.String({ format: 'uuid' })

const example = {
  id: '0198f4e2-7c3e-7b1a-9d55-0d3a6a6f1c11',
  name: 'march-2025',
  source: 'backfill:march-2025',
  state: 'open' as const,
  opened_at: '2026-11-20T12:00:00.000Z',
  closed_at: null,
  reverted_at: null,
  counts: { accepted: 20000, duplicate: 0, rejected: 3, voided: 0 },
}

export const IdPath = Type.Object({ id: Type.String({ maxLength: 64 }) })

export const OpenBody = Type.Object(
  {
    name: Text(128, 'For people.'),
    source: Text(256, 'Of every event of the backfill: "backfill:" and a name of your own.'),
  },
  { additionalProperties: false, examples: [{ name: example.name, source: example.source }] },
)

const members = {
  id: Id,
  name: Type.String(),
  source: Type.String(),
  state: Type.Union([
    Type.Literal('open'),
    Type.Literal('closed'),
    Type.Literal('reverting'),
    Type.Literal('reverted'),
  ]),
  opened_at: Instant,
  closed_at: Type.Union([Instant, Type.Null()]),
  reverted_at: Type.Union([Instant, Type.Null()]),
  counts: Type.Object(
    {
      accepted: Type.Integer(),
      duplicate: Type.Integer(),
      rejected: Type.Integer(),
      voided: Type.Integer({ description: 'Events voided by the revert so far.' }),
    },
    { description: 'Copies by outcome as they were answered: a copy sent again is counted again.' },
  ),
}

export const BackfillAnswer = Type.Object(members, { examples: [example] })
export const OneAnswer = Type.Object(
  { ...members, events: Type.Integer({ description: 'Events that usage knows under the source, each once.' }) },
  { examples: [{ ...example, events: 20000 }] },
)

export const ListQuery = Type.Object(
  {
    limit: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,2}$', description: 'At most so many, 1 to 999.' })),
    after: Type.Optional(Type.String({ format: 'uuid', description: 'The `next` of the page before.' })),
  },
  { additionalProperties: false },
)
export const ListAnswer = Type.Object(
  { backfills: Type.Array(BackfillAnswer), next: Type.Union([Id, Type.Null()]) },
  { examples: [{ backfills: [example], next: null }] },
)

export const AppendBody = Type.Unsafe<Buffer>({
  description: 'A CloudEvent without `source`, an array of them, or one a line (NDJSON). May be gzip.',
  anyOf: [{ type: 'object' }, { type: 'array' }],
  examples: [
    {
      id: '0195a0c4-7c3e-7b1a-9d55-0d3a6a6f1c11',
      type: 'llm.request',
      subject: 'customer-1',
      time: '2025-03-16T12:00:00Z',
      data: { context_tokens: 374, generated_tokens: 44 },
    },
  ],
})
