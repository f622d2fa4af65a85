import { Type } from 'typebox'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import type { App } from '../../../schemas/http/door.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { visibleSubjects } from '../../../schemas/postgres/visible.postgres.ts'
import type { UsageDeps } from '../../usage/query-usage.ts'
import { listEvents, type StoredEvent } from './events.clickhouse.ts'
import type { OpenmeterMeter } from './meter.ts'
import { listMeters } from './meters.postgres.ts'
import { readInstant } from './query.http.ts'
import { validationError } from './validation-error.ts'

const MOST = 100
const DEFAULT_SPAN_MS = 72 * 3_600_000
/** No event is later. */
const YEAR_2100_MS = Date.UTC(2100, 0, 1)
const Instant = Type.Optional(Type.String({ description: 'RFC 3339, included' }))
const Query = Type.Object(
  {
    clientId: Type.Optional(Type.String({ maxLength: 36, description: 'Taken and not used' })),
    id: Type.Optional(Type.String({ maxLength: 256, description: 'The id or a part of it' })),
    subject: Type.Optional(Type.String({ maxLength: 256, description: 'The subject or a part of it' })),
    from: Type.Optional(Type.String({ description: 'RFC 3339, included; 72 hours ago when not given' })),
    ...{ to: Instant, ingestedAtFrom: Instant, ingestedAtTo: Instant },
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MOST })),
  },
  { additionalProperties: false },
)
const CloudEvent = Type.Object({
  specversion: Type.String(),
  id: Type.String(),
  source: Type.String(),
  type: Type.String(),
  subject: Type.String(),
  time: Type.String(),
  datacontenttype: Type.String(),
  data: Type.Unknown(),
})
const Answer = Type.Array(
  Type.Object({
    event: CloudEvent,
    ingestedAt: Type.String(),
    storedAt: Type.String(),
    validationError: Type.Optional(Type.String({ description: 'Why a meter of its type finds no value in it' })),
  }),
  {
    examples: [
      [
        {
          event: {
            specversion: '1.0',
            id: '5c10fade-1c9e-4d6c-8275-c52c36731d3c',
            source: 'service-name',
            type: 'prompt',
            subject: 'customer-id',
            time: '2026-11-20T12:00:00.000Z',
            datacontenttype: 'application/json',
            data: { tokens: '123' },
          },
          ingestedAt: '2026-11-20T12:00:01.000Z',
          storedAt: '2026-11-20T12:00:01.000Z',
        },
      ],
    ],
  },
)

export type OpenmeterEventsDeps = UsageDeps & { store: ClickHouseStore; now: () => number }

export function openmeterEventListDoor(app: App, deps: OpenmeterEventsDeps): void {
  app.get(
    '/openmeter/api/v1/events',
    {
      config: { permission: 'billing:usage:read', scoped: true },
      schema: {
        summary: 'Stored events, the latest first, each with what its meters miss in it.',
        description:
          'Events that were refused (400 on ingest) are not stored and therefore not listed: their errors are in the ' +
          'answer to the request that sent them.',
        querystring: Query,
        response: { 200: Answer },
      },
    },
    async ({ caller, query }) => {
      const instant = (name: 'from' | 'to' | 'ingestedAtFrom' | 'ingestedAtTo', otherwise: number) =>
        query[name] === undefined ? otherwise : readInstant(name, query[name])
      const { meters, visible } = await withTenant(deps.pool, caller.tenantId, async (tx) => ({
        meters: await listMeters(tx),
        visible: await visibleSubjects(tx, caller.scope),
      }))
      const events = await listEvents(deps.store, caller.tenantId, {
        fromMs: instant('from', deps.now() - DEFAULT_SPAN_MS),
        toMs: instant('to', YEAR_2100_MS),
        knownFromMs: instant('ingestedAtFrom', 0),
        knownToMs: instant('ingestedAtTo', YEAR_2100_MS),
        id: query.id ?? '',
        subject: query.subject ?? '',
        visible,
        limit: query.limit ?? MOST,
      })
      return events.map((event) => answerOf(event, meters))
    },
  )
}

function answerOf({ timeMs, knownAtMs, data, ...attributes }: StoredEvent, meters: readonly OpenmeterMeter[]) {
  const known = new Date(knownAtMs).toISOString()
  const error = validationError(attributes.type, data, meters)
  return {
    event: {
      specversion: '1.0',
      ...attributes,
      time: new Date(timeMs).toISOString(),
      datacontenttype: 'application/json',
      data: JSON.parse(data) as unknown,
    },
    ...{ ingestedAt: known, storedAt: known },
    ...(error === undefined ? {} : { validationError: error }),
  }
}
