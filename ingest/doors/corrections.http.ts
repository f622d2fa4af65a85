import type { FastifyReply } from 'fastify'
import type { Static } from 'typebox'
import type { OperationKind } from '../../schemas/event/operation.ts'
import type { App, Caller } from '../../schemas/http/door.ts'
import { PROBLEM_CODES, Problem, problemDocument } from '../../schemas/http/problem.ts'
import { countOutcomes } from '../accept/outcome.ts'
import { readTime } from '../accept/time.ts'
import { type Corrected, correctEvents } from '../corrections/correct.ts'
import type { CountCorrections } from '../corrections/corrected.prometheus.ts'
import type { CorrectionInput, ReplacementInput } from '../corrections/correction.ts'
import type { EventFilter } from '../corrections/events.clickhouse.ts'
import { eventHistory, listWaiting } from '../corrections/history.ts'
import { type FilterDeps, tryFilter, voidByFilter } from '../corrections/void-by-filter.ts'
import {
  CorrectionAnswer,
  DryRunAnswer,
  type Filter,
  HistoryAnswer,
  HistoryQuery,
  ReplaceBody,
  VoidBody,
  WaitingAnswer,
  WaitingQuery,
} from './corrections-shapes.ts'

export type CorrectionsDoorDeps = FilterDeps & { corrected: CountCorrections }

const DEFAULT_LIMIT = 100

export function correctionsDoor(app: App, deps: CorrectionsDoorDeps): void {
  const permission = 'billing:usage:correct'
  app.post(
    '/api/v1/events/void',
    {
      config: { permission },
      schema: {
        summary: 'Let events count as nothing: one, up to 1,000, or those of a filter after a dry run.',
        body: VoidBody,
        response: { 200: DryRunAnswer, 202: CorrectionAnswer },
      },
    },
    async (request, reply) => {
      const { body, caller } = request
      const operationId = operationIdOf(body.operation_id, request.headers['idempotency-key'])
      if (body.filter === undefined) {
        const corrected = await correctEvents(deps, caller, { kind: 'void', operationId, events: eventsOf(body) })
        return send(reply, answerOf(deps, caller, 'void', corrected))
      }
      if (body.events !== undefined || body.source !== undefined || body.id !== undefined)
        throw invalid('filter', 'cannot stand beside source, id or events')
      const filter = readFilter(body.filter)
      if (body.dry_run) return reply.code(200).send(await tryFilter(deps, caller, filter))
      if (body.expected_count === undefined) throw invalid('expected_count', 'is missing: quote what a dry run counted')
      const reason = required(body.reason, 'reason')
      const expectedCount = body.expected_count
      const done = await voidByFilter(deps, caller, { filter, reason, operationId, expectedCount })
      const counts = { ...countOutcomes([]), accepted: done.count }
      deps.corrected(caller.tenantSlug, 'void', counts)
      return reply.code(202).send({ operation_id: done.operationId, ...counts, outcomes: [] })
    },
  )
  app.post(
    '/api/v1/events/replace',
    {
      config: { permission },
      schema: {
        summary: 'Let events count as something else, all of it: type, subject, time and data.',
        body: ReplaceBody,
        response: { 202: CorrectionAnswer },
      },
    },
    async (request, reply) => {
      const { body, caller } = request
      const operationId = operationIdOf(body.operation_id, request.headers['idempotency-key'])
      const corrected = await correctEvents(deps, caller, { kind: 'replace', operationId, events: eventsOf(body) })
      return send(reply, answerOf(deps, caller, 'replace', corrected))
    },
  )
  readsDoor(app, deps)
}

function readsDoor(app: App, deps: CorrectionsDoorDeps): void {
  app.get(
    '/api/v1/events',
    {
      config: { permission: 'billing:usage:read', scoped: true },
      schema: {
        summary: 'An event as it counts now, its copies, and the operations on it in the order they became known.',
        querystring: HistoryQuery,
        response: { 200: HistoryAnswer },
      },
    },
    async (request) => eventHistory(deps, request.caller, request.query.source, request.query.id),
  )
  app.get(
    '/api/v1/events/waiting-voids',
    {
      config: { permission: 'billing:dead-letters:read' },
      schema: {
        summary:
          'Operations of the last 35 days whose event is not known. They hold it back, or change it, when it comes.',
        querystring: WaitingQuery,
        response: { 200: WaitingAnswer },
      },
    },
    async (request) => ({
      waiting: await listWaiting(deps.usage, request.caller.tenantId, deps.now(), request.query.limit ?? DEFAULT_LIMIT),
    }),
  )
}

type Answer = Static<typeof CorrectionAnswer>

function answerOf(
  deps: CorrectionsDoorDeps,
  caller: Caller,
  kind: OperationKind,
  { operationId, outcomes }: Corrected,
): Answer {
  const counts = countOutcomes(outcomes.map((outcome) => ({ outcome })))
  deps.corrected(caller.tenantSlug, kind, counts)
  return { operation_id: operationId, ...counts, outcomes: outcomes.map((outcome, index) => ({ index, ...outcome })) }
}

/** As at the door of events: any failure asks for the whole request again; without one accepted it failed. */
function send(reply: FastifyReply, answer: Answer) {
  const problem = problemOf(answer)
  if (!problem) return reply.code(202).send(answer)
  if (problem.code === 'unavailable') reply.header('retry-after', '1')
  return reply
    .code(PROBLEM_CODES[problem.code].status)
    .type('application/problem+json')
    .serializer(JSON.stringify)
    .send({ ...problemDocument(problem), ...answer })
}

function problemOf({ failed, accepted, operation_id }: Answer): Problem | undefined {
  if (failed > 0)
    return new Problem('unavailable', `Not all was taken: send all again with operation_id ${operation_id}`)
  if (accepted > 0) return undefined
  return new Problem('events_refused', 'No correction was accepted: see the outcomes')
}

type Body = { source?: string; id?: string; reason?: string; event?: ReplacementInput; events?: Item[] }
type Item = { source: string; id: string; reason?: string; event?: ReplacementInput }

/** One event that the body itself names, or its list; a reason of the body is that of all that give none. */
function eventsOf({ source, id, reason, event, events }: Body): CorrectionInput[] {
  if (events === undefined) {
    const one = { source: required(source, 'source'), id: required(id, 'id'), reason: required(reason, 'reason') }
    return [event === undefined ? one : { ...one, event }]
  }
  if (source !== undefined || id !== undefined || event !== undefined)
    throw invalid('events', 'cannot stand beside source, id or event')
  return events.map((item, index) => ({ ...item, reason: required(item.reason ?? reason, `events.${index}.reason`) }))
}

function operationIdOf(inBody: string | undefined, header: string | string[] | undefined): string | undefined {
  const key = Array.isArray(header) ? header[0] : header
  if (key === undefined || key === '') return inBody
  if (key.length > 128) throw invalid('Idempotency-Key', 'must have at most 128 characters')
  if (inBody !== undefined && inBody !== key) throw invalid('operation_id', 'contradicts the header Idempotency-Key')
  return key
}

function readFilter({ from, to, ...same }: Static<typeof Filter>): EventFilter {
  const filter = { ...same, fromMs: instant(from, 'filter.from'), toMs: instant(to, 'filter.to') }
  if (filter.fromMs >= filter.toMs) throw invalid('filter.to', 'must lie after from')
  return filter
}

function instant(text: string, path: string): number {
  const read = readTime(text)
  if ('message' in read) throw invalid(path, read.message)
  return read.ms
}

function required<T>(value: T | undefined, path: string): T {
  if (value === undefined) throw invalid(path, 'is missing')
  return value
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `${path} ${message}`, { errors: [{ path, message }] })
}
