import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import { subjectParts } from '../../../schemas/clickhouse/subject-parts.ts'
import { OPERATION_PREFIX } from '../../../schemas/event/operation.ts'
import type { QuotaWindow } from '../counter-groups.ts'

/** How many events of each subject in a window were voided or replaced, of the meter's types; absent: none. */
export async function correctedEvents(
  store: ClickHouseStore,
  window: QuotaWindow,
  subjects: readonly string[],
): Promise<Map<string, number>> {
  const corrected = new Map<string, number>()
  for (const part of subjectParts(subjects)) {
    for (const row of await countCorrected(store, window, part)) corrected.set(row.subject, Number(row.corrected))
  }
  return corrected
}

function countCorrected(
  store: ClickHouseStore,
  { tenant, meter, startMs, endMs }: QuotaWindow,
  subjects: readonly string[],
): Promise<{ subject: string; corrected: string }[]> {
  return store.query(
    `SELECT subject, toString(count()) AS corrected
     FROM effective_events(tenant = {tenant:UInt32}, as_of_ms = {as_of_ms:Int64})
     WHERE shard IN (
         SELECT shard FROM events WHERE tenant = {tenant:UInt32} AND startsWith(type, '${OPERATION_PREFIX}'))
       AND operations > 0 AND subject IN {subjects:Array(String)}
       AND type IN (SELECT event_type FROM meter_versions WHERE tenant = {tenant:UInt32} AND meter = {meter:String})
       AND time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
       AND time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
     GROUP BY subject`,
    { tenant, meter, subjects, as_of_ms: KNOWN_UNTIL_NOW_MS, from_ms: startMs, to_ms: endMs },
  )
}
