import type { Pool } from 'pg'
import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import type { ConfigCache } from '../accept/config.ts'
import { findEventType, listEventTypes } from '../event-types/event-type.postgres.ts'
import { putEventType } from '../event-types/put-event-type.ts'

const schema = {
  type: 'record',
  name: 'LlmRequest',
  fields: [
    { name: 'context_tokens', type: 'long' },
    { name: 'generated_tokens', type: 'long' },
  ],
}
const UnknownFields = Type.Union([Type.Literal('refuse'), Type.Literal('drop')], {
  description:
    'Fields that the schema does not declare are never stored: refuse the event (the default), or drop the fields.',
})
const EventTypeBody = Type.Object(
  {
    schema: Type.Unsafe<unknown>({ description: 'The Avro schema of an event’s data: a record' }),
    unknown_fields: Type.Optional(UnknownFields),
  },
  { additionalProperties: false, examples: [{ schema, unknown_fields: 'drop' }] },
)
const EventTypeAnswer = Type.Object(
  { type: Type.String(), version: Type.Integer(), schema: Type.Unknown(), unknown_fields: UnknownFields },
  { examples: [{ type: 'llm.request', version: 1, schema, unknown_fields: 'refuse' }] },
)
const Path = Type.Object({ type: Type.String() })

export type EventTypesDoorDeps = { pool: Pool; config: ConfigCache; now: () => number }

export function eventTypesDoor(app: App, deps: EventTypesDoorDeps): void {
  app.put(
    '/api/v1/event-types/:type',
    {
      config: { permission: 'billing:event-types:create' },
      schema: {
        summary: 'Register the Avro schema of an event type, or a backward compatible new version of it.',
        params: Path,
        body: EventTypeBody,
        response: { 200: EventTypeAnswer },
      },
    },
    async (request) => {
      const { tenantId } = request.caller
      const { schema, unknown_fields } = request.body
      const stored = await putEventType(deps, tenantId, request.params.type, schema, unknown_fields)
      deps.config.invalidate(tenantId)
      return stored
    },
  )
  app.get(
    '/api/v1/event-types/:type',
    {
      config: { permission: 'billing:event-types:read' },
      schema: { summary: 'The schema of an event type.', params: Path, response: { 200: EventTypeAnswer } },
    },
    async (request) => {
      const found = await withTenant(deps.pool, request.caller.tenantId, (tx) => findEventType(tx, request.params.type))
      if (!found) throw new Problem('not_found', `There is no event type ${request.params.type}`)
      return found
    },
  )
  app.get(
    '/api/v1/event-types',
    {
      config: { permission: 'billing:event-types:read' },
      schema: {
        summary: 'All event types.',
        response: {
          200: Type.Object(
            { event_types: Type.Array(EventTypeAnswer) },
            { examples: [{ event_types: [{ type: 'llm.request', version: 1, schema, unknown_fields: 'refuse' }] }] },
          ),
        },
      },
    },
    async (request) => ({ event_types: await withTenant(deps.pool, request.caller.tenantId, listEventTypes) }),
  )
}
