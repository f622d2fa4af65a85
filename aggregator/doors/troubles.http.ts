import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { App, Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { listDeadLetters } from '../dead-letters/dead-letters.clickhouse.ts'
import { replayDeadLetters } from '../dead-letters/replay.ts'
import { type ConflictPlace, type EventConflict, listConflicts } from '../usage/lists.clickhouse.ts'
import {
  Conflicts,
  ConflictsQuery,
  DeadLetters,
  DeadLettersQuery,
  ReplayAnswer,
  ReplayBody,
} from './troubles-shapes.ts'

export type TroublesDoorDeps = {
  /** Of whoever asks. */
  reads: ClickHouseStore
  /** Of what writes. */
  store: ClickHouseStore
  now: () => number
}

const DEFAULT_LIMIT = 100
/** Unreadable records do not say whose they are: they are listed under this number, to operators. */
const NOBODY = 0
const YEAR_2100_MS = Date.UTC(2100, 0, 1)

export function troublesDoor(app: App, deps: TroublesDoorDeps): void {
  deadLettersDoor(app, deps)
  app.get(
    '/api/v1/event-conflicts',
    {
      config: { permission: 'billing:dead-letters:read' },
      schema: {
        summary: 'Events that came again with another payload, the newest first. The first copy counts.',
        querystring: ConflictsQuery,
        response: { 200: Conflicts },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor, from, to } = request.query
      const conflicts = await listConflicts(deps.reads, request.caller.tenantId, {
        fromMs: from === undefined ? 0 : instant(from, 'from'),
        toMs: to === undefined ? YEAR_2100_MS : instant(to, 'to'),
        limit,
        ...(cursor === undefined ? {} : { after: placeOf(cursor) }),
      })
      const last = conflicts.at(-1)
      return { event_conflicts: conflicts, next: last && conflicts.length === limit ? cursorOf(last) : null }
    },
  )
}

function deadLettersDoor(app: App, { reads, store, now }: TroublesDoorDeps): void {
  app.get(
    '/api/v1/dead-letters',
    {
      config: { permission: 'billing:dead-letters:read' },
      schema: {
        summary: 'Log records that could not be read, kept whole. An operator key also sees those of unknown tenants.',
        querystring: DeadLettersQuery,
        response: { 200: DeadLetters },
      },
    },
    async (request) => {
      const limit = request.query.limit ?? DEFAULT_LIMIT
      const letters = []
      for (const tenant of tenantsOf(request.caller)) letters.push(...(await listDeadLetters(reads, tenant, limit)))
      return { dead_letters: letters.slice(0, limit) }
    },
  )
  app.post(
    '/api/v1/dead-letters/replay',
    {
      config: { permission: 'billing:dead-letters:replay' },
      schema: {
        summary:
          'Read dead letters again, one or all, up to 1,000: their events count, once. The unreadable ones stay.',
        body: ReplayBody,
        response: { 200: ReplayAnswer },
      },
    },
    async (request) => {
      const { all, log, partition, offset } = request.body
      const place = log !== undefined && partition !== undefined && offset !== undefined
      if (!place && !all) throw invalid('all', 'must be true, or else log, partition and offset name one')
      if (all && (log !== undefined || partition !== undefined || offset !== undefined))
        throw invalid('all', 'cannot stand beside log, partition or offset')
      const at = place ? { log, partition, offset } : undefined
      const { records, waiting } = await replayDeadLetters({ store, now }, tenantsOf(request.caller), at)
      if (at && records.length === 0) throw new Problem('not_found', 'No dead letter of this place waits')
      const count = (outcome: string) => records.filter((record) => record.outcome === outcome).length
      const events = records.reduce((sum, record) => sum + ('events' in record ? record.events : 0), 0)
      return { replayed: count('replayed'), events, unreadable: count('unreadable'), waiting, records }
    },
  )
}

function tenantsOf({ tenantId, operator }: Caller): number[] {
  return operator ? [tenantId, NOBODY] : [tenantId]
}

/** Opaque to the caller: where the last conflict of a page stands. */
function cursorOf({ latest, source, id }: EventConflict): string {
  return Buffer.from(JSON.stringify([Date.parse(latest.known_at), source, id])).toString('base64url')
}

function placeOf(cursor: string): ConflictPlace {
  try {
    const [knownAtMs, source, id] = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown[]
    if (Number.isSafeInteger(knownAtMs) && typeof source === 'string' && typeof id === 'string')
      return { knownAtMs: knownAtMs as number, source, id }
  } catch {
    // Not one of ours.
  }
  throw invalid('cursor', 'is not the next of a page')
}

const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/

function instant(text: string, path: string): number {
  const ms = INSTANT.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms)) throw invalid(path, 'must be an RFC 3339 instant such as 2026-11-01T00:00:00Z')
  return ms
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `${path} ${message}`, { errors: [{ path, message }] })
}
