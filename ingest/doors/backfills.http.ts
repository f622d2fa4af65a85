import type { Pool } from 'pg'
import type { Logger } from 'pino'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { App, Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import type { AcceptDeps, Accepted } from '../accept/accept.ts'
import type { Admission } from '../accept/admission.ts'
import { decodeBody, largestUnpacked } from '../accept/body.ts'
import { countOutcomes } from '../accept/outcome.ts'
import type { UsageRecorder } from '../accept/record.ts'
import type { EventLogWriter } from '../append/event-log.ts'
import { createBackfillAppender } from '../backfills/append-events.ts'
import { type Backfill, noBackfill } from '../backfills/backfill.ts'
import { findBackfill, listBackfills } from '../backfills/backfills.postgres.ts'
import { closeBackfill, revertBackfill } from '../backfills/change-state.ts'
import { countIdentitiesUnder } from '../backfills/identities.clickhouse.ts'
import { keepReverts, type RevertKeeper } from '../backfills/keep-reverts.ts'
import { openBackfill } from '../backfills/open-backfill.ts'
import { AppendBody, BackfillAnswer, IdPath, ListAnswer, ListQuery, OneAnswer, OpenBody } from './backfills.shapes.ts'
import { EventsAnswer } from './events-answer.ts'

export type BackfillsDoorDeps = {
  pool: Pool
  usage: ClickHouseStore
  writer: EventLogWriter
  accept: AcceptDeps
  recorder: UsageRecorder
  admission: Admission
  withRawBodies: (app: App, register: (scope: App) => void) => void
  logger: Logger
  now: () => number
}

const DEFAULT_LIMIT = 100
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** Bulk imports that can be reverted as a whole. Start and stop what is answered: it takes reverts to their end. */
export function backfillsDoor(app: App, deps: BackfillsDoorDeps): RevertKeeper {
  const { batcher } = deps.accept
  const reverts = keepReverts({ ...deps, batcher })
  openDoor(app, deps)
  appendDoor(app, deps)
  stateDoors(app, deps, reverts)
  readDoors(app, deps)
  return reverts
}

function openDoor(app: App, deps: BackfillsDoorDeps): void {
  app.post(
    '/api/v1/backfills',
    {
      config: { permission: 'billing:usage:backfill' },
      schema: {
        summary: 'Open a backfill: a bulk import with a source of its own, which can be reverted as a whole.',
        description: 'Asked again with the same name and source it answers the same backfill.',
        body: OpenBody,
        response: { 200: BackfillAnswer, 201: BackfillAnswer },
      },
    },
    async (request, reply) => {
      const { backfill, opened } = await openBackfill(deps, request.caller.tenantId, request.body)
      return reply.code(opened ? 201 : 200).send(answerOf(backfill))
    },
  )
}

function appendDoor(app: App, deps: BackfillsDoorDeps): void {
  const append = createBackfillAppender(deps)
  deps.withRawBodies(app, (scope) => {
    scope.post(
      '/api/v1/backfills/:id/events',
      {
        config: { permission: 'billing:usage:backfill' },
        schema: {
          summary: 'Append events to an open backfill: as to /api/v1/events, without a source.',
          description: 'Times may be as old as events are kept. Quotas record and do not refuse.',
          consumes: ['application/json', 'application/cloudevents-batch+json', 'application/x-ndjson'],
          params: IdPath,
          body: AppendBody,
          response: { 202: EventsAnswer },
        },
      },
      async (request, reply) => {
        const { headers, caller } = request
        const id = uuidOf(request.params.id)
        const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
        const encoded = { contentType: headers['content-type'], contentEncoding: headers['content-encoding'], body }
        const results = await deps.admission.hold(largestUnpacked(encoded.contentEncoding, body), async () => {
          const { events } = await decodeBody(encoded)
          return append(caller, id, events)
        })
        deps.recorder(caller, results)
        return reply.code(202).send(appended(results))
      },
    )
  })
}

function stateDoors(app: App, deps: BackfillsDoorDeps, reverts: RevertKeeper): void {
  const door = (
    verb: 'close' | 'revert',
    summary: string,
    change: (deps: BackfillsDoorDeps, caller: Caller, id: string) => Promise<Backfill>,
  ) => {
    app.post(
      `/api/v1/backfills/:id/${verb}`,
      {
        config: { permission: 'billing:usage:backfill' },
        schema: { summary, params: IdPath, response: { 202: BackfillAnswer } },
      },
      async (request, reply) => {
        const backfill = await change(deps, request.caller, uuidOf(request.params.id))
        reverts.look()
        return reply.code(202).send(answerOf(backfill))
      },
    )
  }
  door('close', 'Close a backfill: it takes no more events. Closing it again changes nothing.', closeBackfill)
  door('revert', 'Revert a backfill: every event under its source is voided, in the background.', revertBackfill)
}

function readDoors(app: App, deps: BackfillsDoorDeps): void {
  app.get(
    '/api/v1/backfills',
    {
      config: { permission: 'billing:usage:read' },
      schema: {
        summary: 'Backfills in the order of their opening.',
        querystring: ListQuery,
        response: { 200: ListAnswer },
      },
    },
    async (request) => {
      const page = { limit: Number(request.query.limit ?? DEFAULT_LIMIT), after: request.query.after ?? null }
      const backfills = await withTenant(deps.pool, request.caller.tenantId, (tx) => listBackfills(tx, page))
      const next = backfills.length < page.limit ? null : (backfills.at(-1)?.id ?? null)
      return { backfills: backfills.map(answerOf), next }
    },
  )
  app.get(
    '/api/v1/backfills/:id',
    {
      config: { permission: 'billing:usage:read' },
      schema: {
        summary: 'A backfill, and how many events usage knows under its source.',
        params: IdPath,
        response: { 200: OneAnswer },
      },
    },
    async (request) => {
      const { tenantId } = request.caller
      const id = uuidOf(request.params.id)
      const backfill = await withTenant(deps.pool, tenantId, (tx) => findBackfill(tx, id))
      if (!backfill) throw noBackfill(id)
      return { ...answerOf(backfill), events: await countIdentitiesUnder(deps.usage, tenantId, backfill.source) }
    },
  )
}

/** What is no UUID names no backfill, and Postgres would not take it. */
function uuidOf(id: string): string {
  if (!UUID.test(id)) throw noBackfill(id)
  return id.toLowerCase()
}

/** As at /api/v1/events: any failure asks for the whole request again; without one accepted event it failed. */
function appended(results: readonly Accepted[]) {
  const outcomes = results.map(({ outcome }, index) => ({ index, ...outcome }))
  const extra = { ...countOutcomes(results), outcomes }
  if (extra.failed > 0) {
    throw new Problem('unavailable', 'Some events were not taken: send all again, nothing counts twice', { extra })
  }
  if (extra.accepted === 0) throw new Problem('events_refused', 'No event was accepted: see the outcomes', { extra })
  return extra
}

function answerOf(backfill: Backfill) {
  const { id, name, source, state, accepted, duplicate, rejected, voided } = backfill
  return {
    id,
    name,
    source,
    state,
    opened_at: backfill.openedAt.toISOString(),
    closed_at: backfill.closedAt?.toISOString() ?? null,
    reverted_at: backfill.revertedAt?.toISOString() ?? null,
    counts: { accepted, duplicate, rejected, voided },
  }
}
