import type { Logger } from 'pino'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { shardClosesAtMs } from '../../schemas/event/identity.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { advanceCheckpoint } from './checkpoint.ts'
import {
  copiesOf,
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

/** Rebuilt together at most, in shards and in stored copies: a statement takes memory for each identity. */
const SHARDS_PER_RUN = 200
const COPIES_PER_RUN = 1_000_000
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

/** Shards in their order, in runs that are not too large; a shard is never divided. */
export function inRuns(shards: readonly DirtyShard[], copies: ReadonlyMap<number, number>): DirtyShard[][] {
  const runs: DirtyShard[][] = []
  let run: DirtyShard[] = []
  let held = 0
  for (const shard of shards) {
    const size = copies.get(shard.shard) ?? 0
    if (run.length === 0 || run.length === SHARDS_PER_RUN || held + size > COPIES_PER_RUN) {
      run = []
      held = 0
      runs.push(run)
    }
    run.push(shard)
    held += size
  }
  return runs
}

/** A run's number: when it began in ms, then 20 random bits. Below 2^62 until the year 2100. */
export function runNumber(startedAtMs: number, random20: number): string {
  return String((BigInt(startedAtMs) << 20n) | BigInt(random20))
}

/**
 * Rebuilds the ripe dirty shards of a tenant; answers how many, and whether more wait for their time. Order of effects:
 * (1) note how far each shard has come, (2) read its events and write rows under a new run, (3) write the heads. The
 * events of (2) are at least those of (1). A crash after (2) leaves rows that no head names, removed later; a slower
 * rebuilder's head has a smaller version and loses; two that saw the same set wrote the same sums, and one run of them
 * is read. One that slept between (2) and (3) until its rows may be removed writes no heads.
 */
export async function rebuildRipe(deps: RebuildDeps, tenant: TenantId): Promise<{ rebuilt: number; more: boolean }> {
  const { store, now, random20 } = deps
  const dirty = await dirtyShards(store, tenant, DIRTY_LIMIT)
  const ripe = dirty.filter((shard) => isRipe(shard, now()))
  const copies = await copiesOf(
    store,
    tenant,
    ripe.map((one) => one.shard),
  )
  for (const shards of inRuns(ripe, copies)) {
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
  if (ripe.length > 0) await advanceCheckpoint(store, tenant)
  return { rebuilt: ripe.length, more: dirty.length > ripe.length || dirty.length === DIRTY_LIMIT }
}

/** The same; answers how many were rebuilt. */
export async function rebuildTenant(deps: RebuildDeps, tenant: TenantId): Promise<number> {
  return (await rebuildRipe(deps, tenant)).rebuilt
}

/** Runs that lost are kept for readers that began before, and for rebuilders elsewhere that are not done. */
export async function cleanTenant(deps: RebuildDeps, tenant: TenantId, ageMs = OLD_RUN_AGE_MS): Promise<void> {
  await removeOldRuns(deps.store, tenant, ageMs)
}
