import type { FastifyReply } from 'fastify'
import { type Static, Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { queryUsage, type UsageAnswer, type UsageDeps, type UsageInput } from '../usage/query-usage.ts'
import { usageCsv } from '../usage/usage-csv.ts'

const Window = Type.Union([
  Type.Literal('minute'),
  Type.Literal('hour'),
  Type.Literal('day'),
  Type.Literal('week'),
  Type.Literal('month'),
])
const MAX_METERS = 20
const UsageQueryString = Type.Object(
  {
    meter: several(MAX_METERS, 'One meter, or several: repeated, or separated by commas'),
    subject: Type.Optional(several(1000, 'One subject, or several: repeated')),
    customer: Type.Optional(
      Type.String({ minLength: 1, description: 'All subjects of a customer: its external key or id' }),
    ),
    from: Type.String({ description: 'RFC 3339, floored to the minute' }),
    to: Type.String({ description: 'RFC 3339, floored to the minute; not included' }),
    window: Type.Optional(Window),
    group_by: Type.Optional(Type.String({ description: 'Dimensions of the meter, or subject, separated by commas' })),
    timezone: Type.Optional(Type.String({ description: 'IANA zone of the windows; UTC when not given' })),
    as_of: Type.Optional(
      Type.String({ description: 'RFC 3339: usage as it was known before this moment; now when not given' }),
    ),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000, description: 'Windows in one answer' })),
    cursor: Type.Optional(Type.String({ description: 'next_cursor of the answer before', maxLength: 8_192 })),
    format: Type.Optional(Type.Union([Type.Literal('json'), Type.Literal('csv')])),
  },
  { additionalProperties: false },
)
const total = { quantity: '2182292', events: 1937 }
const OneMeter = Type.Object({
  meter: Type.String(),
  from: Type.String(),
  to: Type.String(),
  timezone: Type.String(),
  total: Type.Object({ quantity: Type.String(), events: Type.Integer() }),
  windows: Type.Array(
    Type.Object({
      start: Type.String(),
      end: Type.String(),
      subject: Type.Optional(Type.String()),
      group: Type.Optional(Type.Record(Type.String(), Type.String())),
      quantity: Type.String(),
      events: Type.Integer(),
    }),
  ),
  billed: Type.Optional(Type.String()),
  unbilled: Type.Optional(Type.String()),
  next_cursor: Type.Optional(Type.String({ description: 'With limit, if there are more windows' })),
})

const SeveralMeters = Type.Object(
  { meters: Type.Array(OneMeter) },
  { description: 'Where several meters are asked for' },
)
const UsageResponse = Type.Union([OneMeter, SeveralMeters], {
  examples: [
    {
      meter: 'context_tokens',
      from: '2023-11-01T00:00:00.000Z',
      to: '2023-12-01T00:00:00.000Z',
      timezone: 'UTC',
      total,
      windows: [{ start: '2023-11-01T00:00:00.000Z', end: '2023-12-01T00:00:00.000Z', ...total }],
      billed: '2182292',
      unbilled: '0',
    },
  ],
})

export function usageDoor(app: App, deps: UsageDeps): void {
  app.get(
    '/api/v1/usage',
    {
      config: { permission: 'billing:usage:read', scoped: true },
      schema: {
        summary: 'Exact usage of meters, as known now or at an earlier moment; as JSON or CSV.',
        querystring: UsageQueryString,
        response: { 200: UsageResponse },
      },
    },
    async (request, reply) => {
      const { meters, input } = readQuery(request.query)
      const answers: UsageAnswer[] = []
      for (const meter of meters) answers.push(await queryUsage(deps, request.caller, { ...input, meter }))
      if (request.query.format === 'csv' || wantsCsv(request.query.format, request.headers.accept)) {
        const [next] = answers.flatMap((answer) => answer.next_cursor ?? [])
        if (next !== undefined) reply.header('x-next-cursor', next)
        return sendCsv(reply, usageCsv(answers))
      }
      const [first] = answers
      return first && answers.length === 1 ? first : { meters: answers }
    },
  )
}

/** The serializer is for JSON alone, so text goes out as it is. */
function sendCsv(reply: FastifyReply, text: string): never {
  reply.header('content-type', 'text/csv; charset=utf-8').serializer((payload: unknown) => String(payload))
  return text as never
}

function wantsCsv(format: string | undefined, accept: string | undefined): boolean {
  return format === undefined && /\btext\/csv\b/.test(accept ?? '') && !/\bapplication\/json\b/.test(accept ?? '')
}

function readQuery(query: Static<typeof UsageQueryString>): { meters: string[]; input: Omit<UsageInput, 'meter'> } {
  const { meter, subject, customer, from, to, window, group_by, timezone, as_of, limit, cursor } = query
  const meters = [...new Set([meter].flat().flatMap((text) => text.split(',')))].map((slug) => slug.trim())
  const subjects = subject === undefined ? undefined : [...new Set([subject].flat())]
  if (subjects !== undefined && customer !== undefined)
    throw invalid('customer', 'cannot stand beside subject: give one of them')
  if (meters.length > MAX_METERS) throw invalid('meter', `names more than ${MAX_METERS} meters`)
  if (meters.length > 1 && (limit !== undefined || cursor !== undefined))
    throw invalid('limit', 'goes with one meter: ask for them one by one')
  if (cursor !== undefined && limit === undefined) throw invalid('cursor', 'goes with limit')
  const groupBy = group_by ? [...new Set(group_by.split(',').map((name) => name.trim()))] : []
  return {
    meters,
    input: {
      ...(subjects === undefined ? {} : { subjects }),
      ...(customer === undefined ? {} : { customer }),
      fromMs: readInstant('from', from),
      toMs: readInstant('to', to),
      ...(window === undefined ? {} : { window }),
      groupBy,
      timezone: timezone ?? 'UTC',
      ...(as_of === undefined ? {} : { asOfMs: readInstant('as_of', as_of) }),
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    },
  }
}

const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/

function readInstant(member: string, text: string): number {
  const ms = INSTANT.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms)) throw invalid(member, 'must be an RFC 3339 instant such as 2026-11-01T00:00:00Z')
  return ms
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `${path} ${message}`, { errors: [{ path, message }] })
}

function several(most: number, description: string) {
  const text = Type.String({ minLength: 1 })
  return Type.Union([text, Type.Array(text, { maxItems: most })], { description })
}
