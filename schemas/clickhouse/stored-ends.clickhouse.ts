import type { ClickHouseStore } from './store.ts'

/** The contiguous end of what is stored of each partition of a log: where reading goes on, and how far usage has come. */
export async function storedEnds(store: ClickHouseStore, log: string, partitions: number): Promise<number[]> {
  const rows = await store.query<{ partition: number; end_text: string }>(
    'SELECT partition, toString(end) AS end_text FROM stored_ends(log = {log:String})',
    { log },
  )
  const ends = new Map(rows.map((row) => [row.partition, Number(row.end_text)]))
  return Array.from({ length: partitions }, (_, partition) => ends.get(partition) ?? 0)
}

/** Whether everything before the given ends of a log is stored. */
export async function isStoredUpTo(store: ClickHouseStore, log: string, ends: readonly number[]): Promise<boolean> {
  const stored = await storedEnds(store, log, ends.length)
  return ends.every((end, partition) => (stored[partition] ?? 0) >= end)
}
