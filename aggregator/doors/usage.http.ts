import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { queryUsage, type UsageDeps } from '../usage/query-usage.ts'

const Window = Type.Union([Type.Literal('hour'), Type.Literal('day'), Type.Literal('month')])
const UsageQueryString = Type.Object(
  {
    meter: Type.String({ minLength: 1 }),
    subject: Type.Optional(Type.String({ minLength: 1, description: 'One subject' })),
    customer: Type.Optional(
      Type.String({ minLength: 1, description: 'All subjects of a customer: its external key or id' }),
    ),
    from: Type.String({ description: 'RFC 3339, floored to the minute' }),
    to: Type.String({ description: 'RFC 3339, floored to the minute; not included' }),
    window: Type.Optional(Window),
    group_by: Type.Optional(Type.String({ description: 'Dimensions of the meter, or subject, separated by commas' })),
    timezone: Type.Optional(Type.String({ description: 'IANA zone of the windows; UTC when not given' })),
  },
  { additionalProperties: false },
)
const total = { quantity: '2182292', events: 1937 }
const UsageResponse = Type.Object(
  {
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
  },
  {
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
  },
)

export function usageDoor(app: App, deps: UsageDeps): void {
  app.get(
    '/api/v1/usage',
    {
      config: { permission: 'billing:usage:read' },
      schema: {
        summary: 'Exact usage of a meter, as known now.',
        querystring: UsageQueryString,
        response: { 200: UsageResponse },
      },
    },
    async (request) => {
      const { meter, subject, customer, from, to, window, group_by, timezone } = request.query
      if (subject !== undefined && customer !== undefined)
        throw invalid('customer', 'cannot stand beside subject: give one of them')
      return queryUsage(deps, request.caller.tenantId, {
        meter,
        ...(subject === undefined ? {} : { subject }),
        ...(customer === undefined ? {} : { customer }),
        fromMs: readInstant('from', from),
        toMs: readInstant('to', to),
        ...(window === undefined ? {} : { window }),
        groupBy: group_by ? [...new Set(group_by.split(',').map((name) => name.trim()))] : [],
        timezone: timezone ?? 'UTC',
      })
    },
  )
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
