import type { Checkpoint } from '../../schemas/clickhouse/shard-state.clickhouse.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { allStoredEnds, type LogEnd, shardsBehind, writeCheckpoint } from './checkpoint.clickhouse.ts'

/** So many shards may be looked at in vain by every question until a checkpoint is worth its writing. */
const LOOKED_IN_VAIN = 100

/**
 * Writes a new checkpoint, if questions look at many more shards than are dirty; returns whether it did. Order: (1) how
 * far everything is stored, (2) which shards are dirty then or later, (3) the checkpoint, whose ends lie below a mark
 * of each of them. Marks of (1) are visible at (2), so a shard that is not dirty at (2) is clean as far as (1) reaches;
 * what is stored later lies behind it. Two at once write two, and both are true.
 */
export async function advanceCheckpoint(
  store: ClickHouseStore,
  tenant: TenantId,
  lookedInVain = LOOKED_IN_VAIN,
): Promise<boolean> {
  const before = await shardsBehind(store, tenant)
  if (before.looked - before.dirty - before.outdated <= lookedInVain) return false
  const stored = await allStoredEnds(store)
  const behind = await shardsBehind(store, tenant)
  // While shards are built with a new meter, the checkpoint goes on to speak for the meters of before.
  const revision = behind.outdated > 0 ? behind.checkpoint.revision : behind.revision
  const ends = endsBelow(stored, behind.newest)
  if (says(behind.checkpoint, revision, ends)) return false
  await writeCheckpoint(store, tenant, revision, ends)
  return true
}

function says(checkpoint: Checkpoint, revision: number, ends: readonly LogEnd[]): boolean {
  return (
    checkpoint.revision === revision &&
    ends.every(({ log, partition, end }) => (checkpoint.ends.get(log)?.[partition] ?? 0) === end)
  )
}

/** The stored ends, each lowered so far that the given marks lie behind it. */
export function endsBelow(stored: readonly LogEnd[], marks: readonly LogEnd[]): LogEnd[] {
  return stored.map(({ log, partition, end }) => {
    const below = marks.filter((mark) => mark.log === log && mark.partition === partition)
    return { log, partition, end: Math.min(end, ...below.map((mark) => mark.end - 1)) }
  })
}
