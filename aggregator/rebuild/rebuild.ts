import type { Logger } from 'pino'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { shardClosesAtMs } from '../../schemas/event/identity.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import {
  type DirtyShard,
  dirtyShards,
  OLD_RUN_AGE_MS,
  removeOldRuns,
  startRun,
  writeHeads,
  writeRollup,
} from './rebuild.clickhouse.ts'

export type RebuildDeps = {
  store: ClickHouseStore
  logger: Logger
  now: () => number
  /** 20 random bits, so that two rebuilders never share a run. */
  random20: () => number
}

/** Rebuilt together at most; a shard holds about 10,000 events. */
const SHARDS_PER_RUN = 200
const DIRTY_LIMIT = 2_000
/** A slice is rebuilt when its ids cannot come any more, give or take this; later changes at most once a minute. */
const SLICE_SETTLES_MS = 15_000
const REBUILD_AGAIN_MS = 60_000

/** Whether a dirty shard is worth a rebuild now. Until then its events are read directly, which is as exact. */
export function isRipe(shard: DirtyShard, nowMs: number): boolean {
  const closesAtMs = shardClosesAtMs(shard.shard)
  const open = closesAtMs !== undefined && nowMs < closesAtMs + SLICE_SETTLES_MS
  return !open && nowMs - shard.builtAtMs >= REBUILD_AGAIN_MS
}

/** A run's number: when it began in ms, then 20 random bits. Below 2^62 until the year 2100. */
export function runNumber(startedAtMs: number, random20: number): string {
  return String((BigInt(startedAtMs) << 20n) | BigInt(random20))
}

/**
 * Rebuilds the ripe dirty shards of a tenant; returns how many. Order of effects: (1) note how far each shard has come,
 * (2) read its events and write rows under a new run, (3) write the heads. The events of (2) are at least those of
 * (1). A crash after (2) leaves rows that no head names, removed later; a slower rebuilder's head has a smaller
 * version and loses; two that saw the same set wrote the same sums, and one run of them is read. One that slept
 * between (2) and (3) until its rows may be removed writes no heads.
 */
export async function rebuildTenant(deps: RebuildDeps, tenant: TenantId): Promise<number> {
  const { store, now, random20 } = deps
  const ripe = (await dirtyShards(store, tenant, DIRTY_LIMIT)).filter((shard) => isRipe(shard, now()))
  for (let from = 0; from < ripe.length; from += SHARDS_PER_RUN) {
    const shards = ripe.slice(from, from + SHARDS_PER_RUN)
    const { startedAtMs, revision } = await startRun(store, tenant)
    const run = runNumber(startedAtMs, random20())
    await writeRollup(
      store,
      tenant,
      shards.map((one) => one.shard),
      run,
    )
    await writeHeads(store, tenant, shards, run, revision)
  }
  return ripe.length
}

/** Runs that lost are kept for readers that began before, and for rebuilders elsewhere that are not done. */
export async function cleanTenant(deps: RebuildDeps, tenant: TenantId, ageMs = OLD_RUN_AGE_MS): Promise<void> {
  await removeOldRuns(deps.store, tenant, ageMs)
}
