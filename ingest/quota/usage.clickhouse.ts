import { withUsage } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import { subjectParts } from '../../schemas/clickhouse/subject-parts.ts'
import { parseSum } from '../../schemas/quantity.ts'
import { type ByWindow, byWindow, PLACE, type Span } from './counter-groups.ts'
import { toMicro } from './limit.ts'

/** Of one call: the others who read have connections too. */
const QUESTIONS_AT_ONCE = 2

/**
 * What each of the subjects used of a meter in windows, as known now, in micro-units; absent: nothing. Some thousand
 * subjects are one question, because every question counts the events of the latest minutes anew, which are not in the
 * rollups yet.
 */
export async function usedMicro(
  store: ClickHouseStore,
  span: Span,
  subjects: readonly string[],
): Promise<ByWindow<bigint>> {
  const { tenant, meter, startMs: fromMs, endMs: toMs, widthMs } = span
  const found: { place: string; subject: string; used: string }[] = []
  if (subjects.length === 0) return new Map()
  await withUsage(store, { tenant, meters: [meter], asOfMs: KNOWN_UNTIL_NOW_MS }, async (usageOf) => {
    const parts = subjectParts(subjects).values()
    const ask = async () => {
      for (const part of parts) {
        const { sql, params } = usageOf({ subjects: part, fromMs, toMs })
        const rows = await store.query<(typeof found)[number]>(
          `SELECT ${PLACE} AS place, subject, toString(sum(quantity)) AS used FROM ${sql} GROUP BY place, subject`,
          { ...params, width_ms: widthMs },
        )
        for (const row of rows) found.push(row)
      }
    }
    await Promise.all(Array.from({ length: QUESTIONS_AT_ONCE }, ask))
  })
  return byWindow(span, found, (row) => toMicro(parseSum(row.used)))
}
