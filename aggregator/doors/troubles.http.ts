import { Type } from 'typebox'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { App } from '../../schemas/http/door.ts'
import { listConflicts, listDeadLetters } from '../usage/lists.clickhouse.ts'

const Limit = Type.Object(
  { limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })) },
  { additionalProperties: false },
)
const DEFAULT_LIMIT = 100
/** Unreadable records do not say whose they are: they are listed under this number, to operators. */
const NOBODY = 0

const DeadLetters = Type.Object(
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
const Conflicts = Type.Object(
  {
    event_conflicts: Type.Array(
      Type.Object({ source: Type.String(), id: Type.String(), counted: Copy, latest: Copy, payloads: Type.Integer() }),
    ),
  },
  {
    examples: [
      {
        event_conflicts: [
          { source: 'api-gateway', id: 'a-1', counted: copy, latest: { ...copy, data: '{"tokens":2}' }, payloads: 2 },
        ],
      },
    ],
  },
)

export function troublesDoor(app: App, deps: { store: ClickHouseStore }): void {
  app.get(
    '/api/v1/dead-letters',
    {
      config: { permission: 'billing:dead-letters:read' },
      schema: {
        summary: 'Log records that could not be read, kept whole. An operator key also sees those of unknown tenants.',
        querystring: Limit,
        response: { 200: DeadLetters },
      },
    },
    async (request) => {
      const limit = request.query.limit ?? DEFAULT_LIMIT
      const own = await listDeadLetters(deps.store, request.caller.tenantId, limit)
      const nobodys = request.caller.operator ? await listDeadLetters(deps.store, NOBODY, limit) : []
      return { dead_letters: [...own, ...nobodys].slice(0, limit) }
    },
  )
  app.get(
    '/api/v1/event-conflicts',
    {
      config: { permission: 'billing:dead-letters:read' },
      schema: {
        summary: 'Events that came again with another payload. The first copy counts.',
        querystring: Limit,
        response: { 200: Conflicts },
      },
    },
    async (request) => ({
      event_conflicts: await listConflicts(deps.store, request.caller.tenantId, request.query.limit ?? DEFAULT_LIMIT),
    }),
  )
}
