import type { Pool } from 'pg'
import { Type } from 'typebox'
import type { App } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { type Accepted, acceptEvents } from '../../accept/accept.ts'
import { decodeBody, largestUnpacked } from '../../accept/body.ts'
import { countOutcomes } from '../../accept/outcome.ts'
import { registeredAmong } from '../../event-types/event-type.postgres.ts'
import { isObject } from '../../event-types/json.ts'
import type { EventsDoorDeps } from '../events.http.ts'
import { withOpenTypes } from './open-types.ts'
import { createRegisteredTypes } from './registered-types.ts'

const EXAMPLE = {
  specversion: '1.0',
  id: '5c10fade-1c9e-4d6c-8275-c52c36731d3c',
  source: 'service-name',
  type: 'prompt',
  subject: 'customer-id',
  time: '2026-11-20T12:00:00Z',
  data: { tokens: '123', model: 'gpt-4' },
}
const Body = Type.Unsafe<Buffer>({
  description: 'A CloudEvent or an array of them. An event without data has none of its properties.',
  anyOf: [{ type: 'object' }, { type: 'array' }],
  examples: [EXAMPLE],
})
/** As many as a caller can read; the rest is alike. */
const MOST_SHOWN = 20

/** POST /openmeter/api/v1/events: emitters of OpenMeter, unchanged. 204 once the log has acknowledged all of them. */
export function openmeterEventsDoor(app: App, deps: EventsDoorDeps & { pool: Pool }): void {
  const registered = createRegisteredTypes((tenant, types) =>
    withTenant(deps.pool, tenant, (tx) => registeredAmong(tx, types)),
  )
  deps.withRawBodies(app, (scope) => {
    scope.post(
      '/openmeter/api/v1/events',
      {
        config: { permission: 'billing:usage:create' },
        schema: {
          summary: 'Ingest events as OpenMeter does: 204 when all were taken, however often they come.',
          description:
            'An event type that nobody registered takes any JSON object, unless the tenant switched that off ' +
            '(PUT /api/v1/settings). Events that a meter cannot count, and those more than 5 minutes ahead, are refused ' +
            'here, not stored with an error. When some were refused, the others are stored: sending all again is safe.',
          consumes: ['application/cloudevents+json', 'application/cloudevents-batch+json', 'application/json'],
          body: Body,
          response: { 204: Type.Null({ description: 'All are in the log' }) },
        },
      },
      async (request, reply) => {
        const { headers, caller } = request
        const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
        const encoded = { contentType: headers['content-type'], contentEncoding: headers['content-encoding'], body }
        const results = await deps.admission.hold(largestUnpacked(encoded.contentEncoding, body), async () => {
          const events = (await decodeBody(encoded)).events.map(withData)
          const config = withOpenTypes(deps.accept.config, registered, events)
          return acceptEvents({ ...deps.accept, config }, caller, events)
        })
        deps.recorder(caller, results)
        const problem = problemOf(results)
        if (problem) throw problem
        return reply.code(204).send(null)
      },
    )
  })
}

/** OpenMeter takes events without data; ours have an object. */
function withData(event: unknown): unknown {
  return isObject(event) && (event.data === undefined || event.data === null) ? { ...event, data: {} } : event
}

function problemOf(results: readonly Accepted[]): Problem | undefined {
  const counts = countOutcomes(results)
  if (counts.failed > 0)
    return new Problem('unavailable', 'Some events were not taken: send all again, nothing counts twice')
  if (counts.rejected === 0 && counts.quota_exceeded === 0) return undefined
  const outcomes = results
    .map(({ outcome }, index) => ({ index, ...outcome }))
    .filter(({ outcome }) => outcome === 'rejected' || outcome === 'quota_exceeded')
    .slice(0, MOST_SHOWN)
  const taken = counts.accepted + counts.duplicate
  const detail = `${taken} of ${results.length} events were taken; of the others see the outcomes`
  return new Problem(counts.rejected > 0 ? 'events_refused' : 'quota_exceeded', detail, { extra: { outcomes } })
}
