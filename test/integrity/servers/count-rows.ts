import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { changeView } from '../planted-views.ts'
import { EACH_ROW } from './outage-plants.ts'

/** Every stored row counts, as if nothing were ever stored twice. Merges, which remove some of them, are stopped. */
export async function countRows(store: ClickHouseStore): Promise<void> {
  await store.command('SYSTEM STOP MERGES events')
  await changeView(store, [EACH_ROW.from, EACH_ROW.group, EACH_ROW.first])
}

/** The partitions of the log of which a record was stored twice. The partition stands in the version (design §4.5). */
export async function doubledPartitions(store: ClickHouseStore, tenantId: number): Promise<Set<number>> {
  const rows = await store.query<{ partition: number }>(
    `SELECT DISTINCT toUInt32(bitAnd(bitShiftRight(bitNot(version), 64), 1048575)) AS partition
     FROM (SELECT version, count() AS copies FROM events WHERE tenant = {tenant:UInt32}
           GROUP BY shard, source, id, version)
     WHERE copies > 1`,
    { tenant: tenantId },
  )
  return new Set(rows.map(({ partition }) => partition))
}
