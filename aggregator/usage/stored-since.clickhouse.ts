import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'

/** How far the marks of a tenant's shards reach in each partition of each log, and when that was looked at. */
export type Seen = { reach: ReadonlyMap<string, number>; atMs: number }
export const NOTHING_SEEN: Seen = { reach: new Map(), atMs: 0 }

/**
 * Shards of which something was stored since, whenever it became known: a partition's records are stored in their
 * order, so what is new reaches further than all before. Dead letters that were replayed are marked with the moment of
 * that instead; of the hour before the last look and later ones all are given.
 */
export async function shardsStoredSince(
  store: ClickHouseStore,
  tenant: TenantId,
  seen: Seen,
  nowMs: number,
): Promise<{ shards: number[]; seen: Seen }> {
  const rows = await store.query<{ place: string; reached: string; shards: string[] }>(
    `SELECT log || '/' || toString(partition) AS place, toString(max(next_offset)) AS reached,
       groupUniqArray(toString(shard)) AS shards
     FROM shard_changes
     WHERE tenant = {tenant:UInt32} AND (
       next_offset > {ends:Array(UInt64)}[indexOf({places:Array(String)}, log || '/' || toString(partition))]
       OR (endsWith(log, ' replayed') AND known_hour >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')))
     GROUP BY place`,
    {
      tenant,
      places: [...seen.reach.keys()],
      ends: [...seen.reach.values()],
      since_ms: Math.max(0, seen.atMs - 2 * HOUR_MS),
    },
  )
  const reach = new Map([...seen.reach, ...rows.map(({ place, reached }) => [place, Number(reached)] as const)])
  const shards = [...new Set(rows.flatMap((row) => row.shards))].map(Number)
  return { shards: shards.sort((a, b) => a - b), seen: { reach, atMs: nowMs } }
}
const HOUR_MS = 3_600_000
