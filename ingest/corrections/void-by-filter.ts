import { randomUUID } from 'node:crypto'
import type { Pool } from 'pg'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { Caller, TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import type { EventLogWriter } from '../append/event-log.ts'
import { isStoredWithin } from '../append/stored-within.ts'
import { appendCorrections, type CorrectDeps } from './correct.ts'
import { encodeCorrection } from './correction.ts'
import {
  countFound,
  type EventFilter,
  type FoundEvent,
  findIdentities,
  type Held,
  heldBefore,
  sampleFound,
} from './events.clickhouse.ts'
import { type BegunVoid, findVoid, insertVoid } from './filter-voids.postgres.ts'

export type FilterDeps = CorrectDeps & { pool: Pool; usage: ClickHouseStore; writer: EventLogWriter }

/** One operation voids at most this many events: more would not be read in one piece. */
export const MOST_FOUND = 100_000
const SAMPLE = 10
const APPENDED_AT_ONCE = 5_000
const WAIT_MS = 10_000
const POLL_MS = 20

/** What a void by this filter would void now. */
export async function tryFilter(
  deps: FilterDeps,
  caller: Caller,
  filter: EventFilter,
): Promise<{ count: number; sample: FoundEvent[] }> {
  const asOf = { held: await caughtUp(deps), withoutOperation: '' }
  const count = await countFound(deps.usage, caller.tenantId, filter, asOf)
  return { count, sample: await sampleFound(deps.usage, caller.tenantId, filter, asOf, SAMPLE) }
}

export type FilterVoid = {
  filter: EventFilter
  reason: string
  operationId: string | undefined
  /** As a dry run told: another number of events voids none of them. */
  expectedCount: number
}

/**
 * Voids what a filter means. Order of effects, and what a crash between them leaves: (1) the events that the log holds
 * are counted; (2) the operation is noted with how far the log went; (3) an operation per event is appended to the log, part by part;
 * (4) the answer. After (2) or half-way through (3) some events are voided: a repeat with the same operation id looks
 * at the log up to there, as if nothing of the operation had happened, finds the same events, and what was appended
 * already is the same operation again. No clock of this process decides what was known.
 */
export async function voidByFilter(
  deps: FilterDeps,
  caller: Caller,
  { filter, reason, operationId = randomUUID(), expectedCount }: FilterVoid,
): Promise<{ operationId: string; count: number }> {
  const { tenantId: tenant, keyId: by } = caller
  const held = await caughtUp(deps)
  const filterJson = JSON.stringify(filter)
  const find = () => withTenant(deps.pool, tenant, (tx) => findVoid(tx, operationId, filterJson))
  let begun = await find()
  if (!begun) {
    const asOf = { held, withoutOperation: operationId }
    const count = await countFound(deps.usage, tenant, filter, asOf)
    requireCount(count, expectedCount)
    if (count > MOST_FOUND) throw tooMany(count)
    const note = { operationId, filterJson, reason, by, held, count }
    await withTenant(deps.pool, tenant, (tx) => insertVoid(tx, note, new Date(deps.now())))
    begun = await find()
  }
  if (!begun) throw new Error(`The void ${operationId} was noted and is not there`)
  const found = await foundAgain(deps, tenant, { filter, operationId, expectedCount }, begun)
  const nowMs = deps.now()
  const options = { tenant, kind: 'void', operationId, by, nowMs, partitions: deps.partitions } as const
  for (let from = 0; from < found.length; from += APPENDED_AT_ONCE) {
    const part = found.slice(from, from + APPENDED_AT_ONCE)
    const operations = part.map((one) => encodeCorrection(options, { ...one, reason: begun.reason }))
    // Whatever stopped it half-way: who sends it again needs to know the operation.
    if (await appendCorrections(deps.batcher, operations).catch(() => false)) continue
    const detail = `The event log did not take all of it: send it again with operation_id ${operationId}`
    throw new Problem('unavailable', detail, { retryAfterSeconds: 1, extra: { operation_id: operationId } })
  }
  return { operationId, count: found.length }
}

/** The events of an operation that was begun, exactly as many as then. */
async function foundAgain(
  { usage }: FilterDeps,
  tenant: TenantId,
  { filter, operationId, expectedCount }: { filter: EventFilter; operationId: string; expectedCount: number },
  begun: BegunVoid,
) {
  if (!begun.sameFilter) throw new Problem('conflict', 'The operation id belongs to a void by another filter')
  requireCount(begun.count, expectedCount)
  const asOf = { held: begun.held, withoutOperation: operationId }
  const found = await findIdentities(usage, tenant, filter, asOf, MOST_FOUND + 1)
  requireCount(found.length, begun.count)
  return found
}

function requireCount(count: number, expectedCount: number): void {
  if (count === expectedCount) return
  const detail = `The filter means ${count} events and not ${expectedCount}: look at a dry run, then quote its count`
  throw new Problem('conflict', detail, { extra: { count } })
}

function tooMany(count: number): Problem {
  return new Problem('invalid_request', `The filter means ${count} events; one operation voids at most ${MOST_FOUND}`, {
    errors: [{ path: 'filter', message: `must mean at most ${MOST_FOUND} events: choose a shorter time` }],
  })
}

/** Everything accepted before can be found: what the log holds by then. */
async function caughtUp({ batcher, writer, usage }: FilterDeps): Promise<Held> {
  await batcher.drain()
  const ends = await writer.ends()
  const { logId } = writer
  if (await isStoredWithin(usage, { logId, ends }, { waitMs: WAIT_MS, pollMs: POLL_MS }))
    return heldBefore(usage, logId, ends)
  throw new Problem('unavailable', 'The newest events are not stored yet: try again', { retryAfterSeconds: 5 })
}
