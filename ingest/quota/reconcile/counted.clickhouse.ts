import { withUsage } from '../../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import { subjectParts } from '../../../schemas/clickhouse/subject-parts.ts'
import { parseSum } from '../../../schemas/quantity.ts'
import { type ByWindow, byWindow, PLACE, type Span } from '../counter-groups.ts'
import { toMicro } from '../limit.ts'

export type Counted = { usageMicro: bigint; events: bigint }

/**
 * What each of the subjects used of a meter in windows, as known now, and in how many events; absent: nothing. As
 * `usedMicro`, which requests wait for; this asks one question at a time.
 */
export async function countedUsage(
  store: ClickHouseStore,
  span: Span,
  subjects: readonly string[],
): Promise<ByWindow<Counted>> {
  const { tenant, meter, startMs: fromMs, endMs: toMs, widthMs } = span
  const found: { place: string; subject: string; used: string; counted: string }[] = []
  if (subjects.length === 0) return new Map()
  await withUsage(store, { tenant, meters: [meter], asOfMs: KNOWN_UNTIL_NOW_MS }, async (usageOf) => {
    for (const part of subjectParts(subjects)) {
      const { sql, params } = usageOf({ subjects: part, fromMs, toMs })
      const rows = await store.query<(typeof found)[number]>(
        `SELECT ${PLACE} AS place, subject, toString(sum(quantity)) AS used, toString(sum(events)) AS counted
         FROM ${sql} GROUP BY place, subject`,
        { ...params, width_ms: widthMs },
      )
      for (const row of rows) found.push(row)
    }
  })
  return byWindow(span, found, ({ used, counted }) => {
    return { usageMicro: toMicro(parseSum(used)), events: BigInt(counted) }
  })
}
