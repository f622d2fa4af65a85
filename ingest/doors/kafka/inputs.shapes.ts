import { type Static, Type } from 'typebox'

const NOTHING_ELSE = { additionalProperties: false }
const topic = 'tallyline-input.acme.usage'
const schema = {
  type: 'record',
  name: 'LlmRequest',
  fields: [
    { name: 'request', type: 'string' },
    { name: 'customer', type: 'string' },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'tokens', type: 'long' },
  ],
}
const mapping = { id: 7, schema, type: 'llm.request', fields: { id: 'request', subject: 'customer', time: 'at' } }

const field = (description: string) => Type.String({ minLength: 1, maxLength: 256, description })
const Mapping = Type.Object(
  {
    id: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1, description: 'As it stands in the records’ framing' }),
    schema: Type.Unsafe<unknown>({ description: 'The schema that producers write with: a record' }),
    type: Type.String({ minLength: 1, maxLength: 128, description: 'The event type of the records’ data' }),
    source: Type.Optional(
      Type.String({ minLength: 1, maxLength: 256, description: 'Where no field says it; else kafka:<topic>' }),
    ),
    fields: Type.Object(
      {
        subject: field('The field with the event’s subject'),
        id: Type.Optional(field('The field with its id; without one the record’s place is the id')),
        source: Type.Optional(field('The field with its source')),
        time: Type.Optional(field('The field with its time: RFC 3339 text, or a timestamp-millis or -micros')),
        data: Type.Optional(field('The field with its data; without one, all fields not named here')),
      },
      NOTHING_ELSE,
    ),
  },
  NOTHING_ELSE,
)

export const InputBody = Type.Object(
  {
    format: Type.Union([Type.Literal('json'), Type.Literal('avro')], {
      description: 'json: CloudEvents, structured, batched or binary. avro: framed with a schema id of the list.',
    }),
    schemas: Type.Optional(Type.Array(Mapping, { maxItems: 32, description: 'Of avro: the ids that are taken' })),
    backfill: Type.Optional(Type.Boolean({ description: 'Events may be older than 35 days' })),
    paused: Type.Optional(Type.Boolean({ description: 'Nothing is read until it is false again' })),
  },
  { ...NOTHING_ELSE, examples: [{ format: 'json' }, { format: 'avro', schemas: [mapping] }] },
)
export type InputBody = Static<typeof InputBody>

const input = { topic, format: 'avro', schemas: [mapping], backfill: false, paused: false } as const
const Input = {
  topic: Type.String(),
  format: Type.Union([Type.Literal('json'), Type.Literal('avro')]),
  schemas: Type.Array(Mapping),
  backfill: Type.Boolean(),
  paused: Type.Boolean(),
}
export const InputAnswer = Type.Object(Input, { examples: [input] })
export const InputsAnswer = Type.Object(
  { kafka_inputs: Type.Array(Type.Object(Input)) },
  { examples: [{ kafka_inputs: [input] }] },
)
export const TopicPath = Type.Object({ topic: Type.String({ maxLength: 249 }) })

export const RejectionsQuery = Type.Object(
  {
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 })),
    cursor: Type.Optional(Type.String({ maxLength: 1_024, description: 'The `next` of the page before' })),
  },
  NOTHING_ELSE,
)
export const RejectionsAnswer = Type.Object(
  {
    rejections: Type.Array(
      Type.Object({
        topic_id: Type.String({ description: 'Tells topics of one name apart' }),
        partition: Type.Integer(),
        offset: Type.Integer(),
        last_offset: Type.Integer({ description: 'The last record that it stands for; mostly the same' }),
        event_index: Type.Union([Type.Integer(), Type.Null()], { description: 'null: the record as a whole' }),
        events: Type.Integer({ description: 'How many events it stands for' }),
        id: Type.Union([Type.String(), Type.Null()]),
        code: Type.String(),
        path: Type.String(),
        message: Type.String(),
        excerpt_base64: Type.String({ description: 'The first 2,048 bytes of the event as JSON, or of the record' }),
        value_bytes: Type.Integer(),
        rejected_at: Type.String(),
      }),
    ),
    next: Type.Union([Type.String(), Type.Null()]),
  },
  {
    examples: [
      {
        rejections: [
          {
            topic_id: '5b2a3c1d-6f1e-4c58-9a51-3f6f2f0f9b11',
            partition: 3,
            offset: 17,
            last_offset: 17,
            event_index: null,
            events: 1,
            id: null,
            code: 'unknown_schema',
            path: '',
            message: 'The schema id 9 is not on the list of this input',
            excerpt_base64: 'AAAAAAkCYQ==',
            value_bytes: 7,
            rejected_at: '2026-11-20T12:00:01.000Z',
          },
        ],
        next: null,
      },
    ],
  },
)
