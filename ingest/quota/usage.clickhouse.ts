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
  const rows = await store.query<{ subject: string; used: string }>(
    `SELECT subject, toString(sum(quantity)) AS used
     FROM exact_usage(tenant = {tenant:UInt32}, meter = {meter:String}, from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64},
       as_of_ms = {as_of_ms:Int64})
     WHERE subject IN {subjects:Array(String)}
     GROUP BY subject`,
    {
      tenant: window.tenant,
      meter: window.meter,
      subjects,
      from_ms: window.startMs,
      to_ms: window.endMs,
      as_of_ms: KNOWN_UNTIL_NOW_MS,
    },
  )
  return new Map(rows.map((row) => [row.subject, toMicro(parseSum(row.used))]))
}
