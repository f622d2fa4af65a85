import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { isStoredUpTo } from '../../schemas/clickhouse/stored-ends.clickhouse.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import type { EventLogReader } from '../pump/event-log.ts'
import { insertSeal, logBeside, openSealRequests, type SealRequest } from './seal.postgres.ts'
import { identityTotals } from './totals.clickhouse.ts'

export type SealDeps = {
  pool: Pool
  store: ClickHouseStore
  reader: EventLogReader
  /** Of logs that the present one followed. */
  endedReaders?: readonly EventLogReader[]
  now: () => number
  stopping: () => boolean
}

const POLL_MS = 20
/** A little more than the margin of one broker, 1 s, so that its seals do not wait for another turn. */
const LONGEST_WAIT_MS = 1_500

/**
 * Answers the open seal requests of a tenant; returns how many. A request's set is complete when the stored ranges
 * reach the end of the log as seen after W and the log's clock margin have passed: whatever is appended later was
 * known at W or later. Nothing is answered before; a crash leaves the request open. Ranges are read from the store,
 * since other aggregators write them too. That holds for every log that events may come from; a process that does not
 * know of one leaves the request to those that do.
 */
export async function answerSealRequests(deps: SealDeps, tenant: TenantId): Promise<number> {
  const requests = await withTenant(deps.pool, tenant, openSealRequests)
  let answered = 0
  for (const request of requests) {
    const logOffsets = await waitUntilComplete(deps, tenant, request)
    if (!logOffsets) continue
    const totals = await identityTotals(deps.store, tenant, request.knownBeforeMs)
    const seal = { ...request, ...totals, logOffsets }
    await withTenant(deps.pool, tenant, (tx) => insertSeal(tx, seal, new Date(deps.now())))
    answered++
  }
  return answered
}

function readersOf({ reader, endedReaders = [] }: SealDeps): EventLogReader[] {
  return [reader, ...endedReaders]
}

async function requireEveryLog(deps: SealDeps, tenant: TenantId): Promise<void> {
  const read = readersOf(deps).map(({ logId }) => logId)
  const newLog = await withTenant(deps.pool, tenant, (tx) => logBeside(tx, read))
  if (newLog) throw new Error(`Events are written to the log ${newLog}, which this process does not read: restart it`)
}

/** The offsets reached of each log, or undefined when it cannot be answered now. */
async function waitUntilComplete(
  deps: SealDeps,
  tenant: TenantId,
  { knownBeforeMs }: SealRequest,
): Promise<Record<string, number[]> | undefined> {
  const readers = readersOf(deps)
  const completeFromMs = knownBeforeMs + Math.max(...readers.map((reader) => reader.clockMarginMs))
  // Usually W lies a millisecond ahead. One further ahead (the margin of several clocks, a clock that was set back)
  // waits for a later turn and keeps no other request waiting.
  if (completeFromMs - deps.now() > LONGEST_WAIT_MS) return undefined
  while (deps.now() < completeFromMs) await sleep(1)
  // After W: what is appended to a log that begins later is known at W or later.
  await requireEveryLog(deps, tenant)
  const logOffsets: Record<string, number[]> = {}
  for (const reader of readers) logOffsets[reader.logId] = await reader.ends()
  for (const [log, ends] of Object.entries(logOffsets)) {
    while (!(await isStoredUpTo(deps.store, log, ends))) {
      if (deps.stopping()) return undefined
      await sleep(POLL_MS)
    }
  }
  return logOffsets
}
