import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { PROBLEM_CODES, Problem, problemDocument } from '../../schemas/http/problem.ts'
import { type AcceptDeps, type Accepted, acceptEvents } from '../accept/accept.ts'
import type { Admission } from '../accept/admission.ts'
import { largestUnpacked } from '../accept/body.ts'
import { countOutcomes, type OutcomeKind } from '../accept/outcome.ts'
import type { UsageRecorder } from '../accept/record.ts'
import { readEvents } from './binary-event.ts'
import { answerBytes, EventsAnswer } from './events-answer.ts'

const EXAMPLE = {
  specversion: '1.0',
  id: '0198f4e2-7c3e-7b1a-9d55-0d3a6a6f1c11',
  source: 'api-gateway',
  type: 'llm.request',
  subject: 'customer-1',
  time: '2026-11-20T12:00:00Z',
  data: { context_tokens: 374, generated_tokens: 44 },
}
const EventsBody = Type.Unsafe<Buffer>({
  description:
    'A CloudEvent, an array of them, or one a line (NDJSON); or its data, with the attributes in ce- headers. May be gzip.',
  anyOf: [{ type: 'object' }, { type: 'array' }],
  examples: [EXAMPLE],
})

export type EventsDoorDeps = {
  accept: AcceptDeps
  recorder: UsageRecorder
  admission: Admission
  /** How the host lets a scope of routes have the body as it arrived. */
  withRawBodies: (app: App, register: (scope: App) => void) => void
}

/** POST /api/v1/events: 202 once the log has acknowledged, with an outcome per event. */
export function eventsDoor(app: App, deps: EventsDoorDeps): void {
  deps.withRawBodies(app, (scope) => {
    scope.post(
      '/api/v1/events',
      {
        config: { permission: 'billing:usage:create' },
        schema: {
          summary: 'Send usage events. The same (source, id) counts once, however often it is sent.',
          consumes: [
            'application/cloudevents+json',
            'application/cloudevents-batch+json',
            'application/json',
            'application/x-ndjson',
          ],
          body: EventsBody,
          response: { 202: EventsAnswer },
        },
      },
      async (request, reply) => {
        const { headers, caller } = request
        const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
        const encoded = { contentType: headers['content-type'], contentEncoding: headers['content-encoding'], body }
        const results = await deps.admission.hold(largestUnpacked(encoded.contentEncoding, body), async () => {
          return acceptEvents(deps.accept, caller, await readEvents(headers, encoded))
        })
        deps.recorder(caller, results)
        const counts = countOutcomes(results)
        const problem = problemOf(counts)
        // Bytes are sent as they are: the schema only documents them.
        if (!problem)
          return reply
            .code(202)
            .type('application/json; charset=utf-8')
            .send(answerBytes(results) as never)
        if (problem.code === 'unavailable') reply.header('retry-after', '1')
        return reply
          .code(PROBLEM_CODES[problem.code].status as 202)
          .type('application/problem+json')
          .serializer(JSON.stringify)
          .send({ ...problemDocument(problem), ...counts, outcomes: outcomesOf(results) })
      },
    )
  })
}

function outcomesOf(results: readonly Accepted[]) {
  return results.map(({ outcome }, index) => ({ index, ...outcome }))
}

/** Any failure asks for the whole request again; without one accepted event the request failed. */
function problemOf(counts: Record<OutcomeKind, number>): Problem | undefined {
  if (counts.failed > 0)
    return new Problem('unavailable', 'Some events were not taken: send all again, nothing counts twice')
  if (counts.accepted > 0) return undefined
  if (counts.quota_exceeded > 0) return new Problem('quota_exceeded', 'The quota does not cover any of the events')
  return new Problem('events_refused', 'No event was accepted: see the outcomes')
}
