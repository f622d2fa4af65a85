import { Type } from 'typebox'
import type { FilterInput } from '../../schemas/meter/filter.ts'
import type { Meter, MeterVersion } from '../meters/meter.ts'
import type { RebuildProgress } from '../meters/rebuild-progress.ts'

const Aggregation = Type.Union([
  Type.Literal('count'),
  Type.Literal('sum'),
  Type.Literal('min'),
  Type.Literal('max'),
  Type.Literal('average'),
  Type.Literal('unique_count'),
  Type.Literal('latest'),
  Type.Literal('time_weighted_sum'),
  Type.Literal('percentile'),
])
const AGGREGATION =
  'Each value of a time_weighted_sum is a change of the level, up or down: Σ level × time it lasted ÷ time of the window, ' +
  'the level from before carried in'
const Window = Type.Union([Type.Literal('hour'), Type.Literal('day')])
/** Read by schemas/meter/filter.ts, which says what is wrong in a sentence: a schema of it would refer to itself. */
const Filter = Type.Unsafe<FilterInput>(
  Type.Object(
    {},
    {
      additionalProperties: true,
      description:
        'One of {"equals":{"path","value"}}, {"in":{"path","values":[…]}}, {"exists":{"path"}}, ' +
        '{"compare":{"path","op":"lt|lte|gt|gte","value":"10"}}, {"and":[…]}, {"or":[…]}, {"not":…}',
      examples: [{ in: { path: 'model', values: ['small', 'large'] } }],
    },
  ),
)
const WINDOW = 'The aggregation (sum or max) is taken per hour or day (UTC), and the results are added'

export const MeterBody = Type.Object(
  {
    event_type: Type.String({ minLength: 1, maxLength: 128 }),
    aggregation: { ...Aggregation, description: AGGREGATION },
    value: Type.Optional(
      Type.String({
        maxLength: 512,
        description:
          'Dotted path inside data (a leading $. is allowed), or an expression of paths and decimals with + - * / ( ). ' +
          'A minus between paths has spaces around it: a-b is a name',
      }),
    ),
    filter: Type.Optional(Filter),
    group_by: Type.Optional(Type.Array(Type.String({ maxLength: 512 }), { maxItems: 5 })),
    window: Type.Optional({ ...Window, description: WINDOW }),
    percentile: Type.Optional(
      Type.String({ maxLength: 8, description: 'Of a percentile: above 0, at most 100, as decimal text' }),
    ),
    effective_from: Type.Optional(
      Type.String({
        maxLength: 64,
        description:
          'RFC 3339, floored to the minute, not past: another value, filter or event_type counts from then on',
      }),
    ),
  },
  {
    additionalProperties: false,
    examples: [
      { event_type: 'llm.request', aggregation: 'sum', value: '$.context_tokens', group_by: ['model'] },
      {
        event_type: 'llm.request',
        aggregation: 'sum',
        value: '(context_tokens + 2 * generated_tokens) / 1000',
        filter: { equals: { path: 'model', value: 'large' } },
        effective_from: '2026-12-01T00:00:00Z',
      },
    ],
  },
)

const answered = {
  slug: Type.String(),
  event_type: Type.String(),
  aggregation: Aggregation,
  value: Type.Optional(Type.String()),
  group_by: Type.Array(Type.String()),
  revision: Type.Integer(),
  filter: Type.Optional(Filter),
  window: Type.Optional(Window),
  percentile: Type.Optional(Type.String()),
  version: Type.Optional(Type.Integer({ description: 'Of the newest version; left out while there is only one' })),
  effective_from: Type.Optional(Type.String()),
}
const example = {
  slug: 'context_tokens',
  event_type: 'llm.request',
  aggregation: 'sum' as const,
  value: 'context_tokens',
  group_by: ['model'],
  revision: 1,
}
export const MeterAnswer = Type.Object(answered, { examples: [example] })

const Version = Type.Object({
  version: Type.Integer(),
  effective_from: Type.String(),
  event_type: Type.String(),
  value: Type.Optional(Type.String()),
  filter: Type.Optional(Filter),
})
export const MeterDetail = Type.Object(
  {
    ...answered,
    versions: Type.Optional(Type.Array(Version, { description: 'Oldest first; left out while there is only one' })),
    progress: Type.Optional(
      Type.Object(
        { shards: Type.Integer(), built: Type.Integer() },
        { description: 'While rollups of earlier events are computed with the newest definition' },
      ),
    ),
    exact: Type.Optional(Type.Literal(true, { description: 'Beside progress: usage is exact all the same' })),
  },
  { examples: [{ ...example, progress: { shards: 1200, built: 300 }, exact: true as const }] },
)

/** A meter as it is answered everywhere; members that would say nothing are left out. */
export function meterAnswer(meter: Meter) {
  const { slug, aggregation, window, percentile, groupBy, revision, versions } = meter
  const newest = versions.at(-1)
  return {
    slug,
    ...measureOf(meter),
    aggregation,
    ...(window === undefined ? {} : { window }),
    ...(percentile === undefined ? {} : { percentile }),
    group_by: groupBy.map((group) => group.name),
    revision,
    ...(newest && newest.version > 1 ? { version: newest.version, effective_from: effectiveFrom(newest) } : {}),
  }
}

export function detailOf(meter: Meter, progress: RebuildProgress | undefined) {
  const versions = meter.versions.map((version) => ({
    version: version.version,
    effective_from: effectiveFrom(version),
    ...measureOf(version),
  }))
  return {
    ...meterAnswer(meter),
    ...(versions.length > 1 ? { versions } : {}),
    ...(progress ? { progress, exact: true as const } : {}),
  }
}

function measureOf({ eventType, value, filter }: Pick<MeterVersion, 'eventType' | 'value' | 'filter'>) {
  return {
    event_type: eventType,
    ...(value === undefined ? {} : { value }),
    ...(filter === undefined ? {} : { filter }),
  }
}

function effectiveFrom({ effectiveFromMs }: MeterVersion): string {
  return new Date(effectiveFromMs).toISOString()
}
