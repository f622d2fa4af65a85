import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import { parseQuantity } from '../../schemas/quantity.ts'
import { toMicro } from './limit.ts'
import type { CounterKey } from './quota-store.ts'

/** What the counter's subject used of its meter in its window, as known now, in micro-units. */
export async function usedMicro(store: ClickHouseStore, counter: CounterKey): Promise<bigint> {
  const [row] = await store.query<{ used: string }>(
    `SELECT toString(sum(quantity)) AS used
     FROM exact_usage(tenant = {tenant:UInt32}, meter = {meter:String}, from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64},
       as_of_ms = {as_of_ms:Int64})
     WHERE subject = {subject:String}`,
    {
      tenant: counter.tenant,
      meter: counter.meter,
      subject: counter.subject,
      from_ms: counter.startMs,
      to_ms: counter.endMs,
      as_of_ms: KNOWN_UNTIL_NOW_MS,
    },
  )
  return toMicro(parseQuantity(row?.used ?? '0'))
}

/** Whether everything before the given ends of the log is stored. */
export async function isStoredUpTo(store: ClickHouseStore, log: string, ends: readonly number[]): Promise<boolean> {
  const rows = await store.query<{ partition: number; end_text: string }>(
    'SELECT partition, toString(end) AS end_text FROM stored_ends(log = {log:String})',
    { log },
  )
  const stored = new Map(rows.map((row) => [row.partition, Number(row.end_text)]))
  return ends.every((end, partition) => (stored.get(partition) ?? 0) >= end)
}
