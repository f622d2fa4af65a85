import { withUsage } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import { parseSum } from '../../schemas/quantity.ts'
import { toMicro } from './limit.ts'
import type { CounterKey } from './quota-store.ts'

/** What is counted over which time; a subject makes it a counter. */
export type QuotaWindow = Omit<CounterKey, 'subject'>

/** What each of the subjects used of a meter in a window, as known now, in micro-units; absent: nothing. */
export async function usedMicro(
  store: ClickHouseStore,
  window: QuotaWindow,
  subjects: readonly string[],
): Promise<Map<string, bigint>> {
  const { tenant, meter, startMs: fromMs, endMs: toMs } = window
  const rows = await withUsage(store, { tenant, meters: [meter], asOfMs: KNOWN_UNTIL_NOW_MS }, (usageOf) => {
    const { sql, params } = usageOf({ subjects, fromMs, toMs })
    return store.query<{ subject: string; used: string }>(
      `SELECT subject, toString(sum(quantity)) AS used FROM ${sql} GROUP BY subject`,
      params,
    )
  })
  return new Map(rows.map((row) => [row.subject, toMicro(parseSum(row.used))]))
}
