import { setTimeout as sleep } from 'node:timers/promises'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { isStoredUpTo } from '../../schemas/clickhouse/stored-ends.clickhouse.ts'

/** Waits until usage has everything of a log up to its ends, and looks once at least; false if it has not by then. */
export async function isStoredWithin(
  store: ClickHouseStore,
  { logId, ends }: { logId: string; ends: readonly number[] },
  { waitMs, pollMs, signal }: { waitMs: number; pollMs: number; signal?: AbortSignal | undefined },
): Promise<boolean> {
  for (let waitedMs = 0; waitedMs <= waitMs; waitedMs += pollMs) {
    if (await isStoredUpTo(store, logId, ends)) return true
    await sleep(pollMs, undefined, signal ? { signal } : {})
  }
  return false
}
