import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { isStoredUpTo } from '../../schemas/clickhouse/stored-ends.clickhouse.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import type { EventLogReader } from '../pump/event-log.ts'
import { insertSeal, openSealRequests, type SealRequest } from './seal.postgres.ts'
import { identityTotals } from './totals.clickhouse.ts'

export type SealDeps = {
  pool: Pool
  store: ClickHouseStore
  reader: EventLogReader
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
 * since other aggregators write them too.
 */
export async function answerSealRequests(deps: SealDeps, tenant: TenantId): Promise<number> {
  const requests = await withTenant(deps.pool, tenant, openSealRequests)
  let answered = 0
  for (const request of requests) {
    const offsets = await waitUntilComplete(deps, request)
    if (!offsets) continue
    const totals = await identityTotals(deps.store, tenant, request.knownBeforeMs)
    const seal = { ...request, ...totals, logOffsets: { [deps.reader.logId]: offsets } }
    await withTenant(deps.pool, tenant, (tx) => insertSeal(tx, seal, new Date(deps.now())))
    answered++
  }
  return answered
}

/** The offsets reached, or undefined when it cannot be answered now. */
async function waitUntilComplete(deps: SealDeps, { knownBeforeMs }: SealRequest): Promise<number[] | undefined> {
  const { reader, store } = deps
  const completeFromMs = knownBeforeMs + reader.clockMarginMs
  // Usually W lies a millisecond ahead. One further ahead (the margin of several clocks, a clock that was set back)
  // waits for a later turn and keeps no other request waiting.
  if (completeFromMs - deps.now() > LONGEST_WAIT_MS) return undefined
  while (deps.now() < completeFromMs) await sleep(1)
  const ends = await reader.ends()
  while (!deps.stopping()) {
    if (await isStoredUpTo(store, reader.logId, ends)) return ends
    await sleep(POLL_MS)
  }
  return undefined
}
