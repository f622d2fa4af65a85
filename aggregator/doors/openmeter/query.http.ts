import { type Static, Type } from 'typebox'
import type { App, Reader } from '../../../schemas/http/door.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { isZone } from '../../../schemas/time/zone.ts'
import type { UsageDeps } from '../../usage/query-usage.ts'
import { csvOf } from './csv.ts'
import { invalid } from './meter.ts'
import { type MeterQuery, queryMeter } from './query-meter.ts'
import { displayNames } from './subjects.postgres.ts'

const WindowSize = Type.Union([
  Type.Literal('MINUTE'),
  Type.Literal('HOUR'),
  Type.Literal('DAY'),
  Type.Literal('MONTH'),
])
const One = {
  clientId: Type.Optional(Type.String({ maxLength: 36, description: 'Taken and not used' })),
  from: Type.Optional(Type.String({ description: 'RFC 3339, floored to the minute; the first event when not given' })),
  to: Type.Optional(Type.String({ description: 'RFC 3339, floored to the minute, not included' })),
  windowSize: Type.Optional(WindowSize),
  windowTimeZone: Type.Optional(Type.String({ description: 'IANA zone of the windows; UTC when not given' })),
}
const Texts = Type.Array(Type.String(), { maxItems: 100 })
const Repeated = Type.Union([Type.String(), Texts])
const QueryBody = Type.Object(
  { ...One, subject: Type.Optional(Texts), groupBy: Type.Optional(Texts) },
  {
    additionalProperties: false,
    examples: [
      { from: '2026-11-01T00:00:00Z', to: '2026-11-03T00:00:00Z', windowSize: 'DAY', subject: ['customer-1'] },
    ],
  },
)
const QueryString = Type.Object(
  { ...One, subject: Type.Optional(Repeated), groupBy: Type.Optional(Repeated) },
  { additionalProperties: false },
)
const row = {
  value: 12,
  windowStart: '2026-11-01T00:00:00Z',
  windowEnd: '2026-11-02T00:00:00Z',
  subject: 'customer-1',
  groupBy: { model: 'gpt-4-turbo' },
}
const Answer = Type.Object(
  {
    from: Type.Optional(Type.String()),
    to: Type.Optional(Type.String()),
    windowSize: Type.Optional(WindowSize),
    data: Type.Array(
      Type.Object({
        value: Type.Number(),
        windowStart: Type.String(),
        windowEnd: Type.String(),
        subject: Type.Union([Type.String(), Type.Null()]),
        groupBy: Type.Record(Type.String(), Type.String()),
      }),
    ),
  },
  { description: 'text/csv if Accept says so', examples: [{ windowSize: 'DAY', data: [row] }] },
)
const Path = Type.Object({ idOrSlug: Type.String({ maxLength: 64 }) })
const URL = '/openmeter/api/v1/meters/:idOrSlug/query'
const summary = 'Usage of a meter as OpenMeter answers it. Windows without usage are left out.'

export function openmeterQueryDoor(app: App, deps: UsageDeps): void {
  const config = { permission: 'billing:usage:read', scoped: true } as const
  app.get(
    URL,
    { config, schema: { summary, params: Path, querystring: QueryString, response: { 200: Answer } } },
    async ({ caller, params, query, headers }, reply) => {
      const { subject, groupBy, ...one } = query
      const body = { ...one, subject: listOf(subject), groupBy: listOf(groupBy) }
      const answer = await answerOf(deps, caller, params.idOrSlug, body, wantsCsv(headers.accept))
      return 'csv' in answer
        ? reply
            .type('text/csv')
            .serializer(String)
            .send(answer.csv as never)
        : answer.json
    },
  )
  app.post(
    URL,
    { config, schema: { summary, params: Path, body: QueryBody, response: { 200: Answer } } },
    async ({ caller, params, body, headers }, reply) => {
      const answer = await answerOf(deps, caller, params.idOrSlug, body, wantsCsv(headers.accept))
      return 'csv' in answer
        ? reply
            .type('text/csv')
            .serializer(String)
            .send(answer.csv as never)
        : answer.json
    },
  )
}

async function answerOf(
  deps: UsageDeps,
  reader: Reader,
  idOrSlug: string,
  body: Static<typeof QueryBody>,
  asCsv: boolean,
): Promise<{ json: Static<typeof Answer> } | { csv: string }> {
  const { from, to, windowSize } = body
  const { groupBy, rows } = await queryMeter(deps, reader, idOrSlug, readQuery(body))
  if (!asCsv)
    return {
      json: { ...(from ? { from } : {}), ...(to ? { to } : {}), ...(windowSize ? { windowSize } : {}), data: rows },
    }
  const subjects = [...new Set(rows.flatMap(({ subject }) => (subject === null ? [] : [subject])))]
  const names = await withTenant(deps.pool, reader.tenantId, (tx) => displayNames(tx, subjects))
  return { csv: csvOf(rows, groupBy, names) }
}

function readQuery({
  from,
  to,
  windowSize,
  windowTimeZone = 'UTC',
  subject,
  groupBy,
}: Static<typeof QueryBody>): MeterQuery {
  if (!isZone(windowTimeZone)) throw invalid('windowTimeZone', 'is no IANA time zone, such as Europe/Paris')
  return {
    ...(from === undefined ? {} : { fromMs: readInstant('from', from) }),
    ...(to === undefined ? {} : { toMs: readInstant('to', to) }),
    ...(windowSize === undefined ? {} : { windowSize }),
    windowTimeZone,
    subject: [...new Set(subject)],
    groupBy: groupBy ?? [],
  }
}

const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/

export function readInstant(member: string, text: string): number {
  const ms = INSTANT.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms)) throw invalid(member, 'must be an RFC 3339 instant such as 2026-11-01T00:00:00Z')
  return ms
}

function listOf(value: string | string[] | undefined): string[] {
  return value === undefined ? [] : [value].flat()
}

function wantsCsv(accept: string | undefined): boolean {
  return /^\s*text\/csv\b/i.test(accept ?? '')
}
