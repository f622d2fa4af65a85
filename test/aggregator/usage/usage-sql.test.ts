import { describe, expect, test } from 'vitest'
import { MAX_USAGE_ROWS, type UsageQuery, usageSql } from '../../../aggregator/usage/usage.clickhouse.ts'

const QUERY: UsageQuery = {
  tenant: 7,
  meter: 'tokens',
  subjects: [],
  fromMs: 60_000,
  toMs: 120_000,
  startsMs: [0, 60_000],
  groups: [],
  bySubject: false,
}
const USAGE = { sql: '(SELECT usage)', params: { usage_tenant: 7 } }
const folded = (sql: string) => sql.replace(/\s+/g, ' ').trim()

describe('the statement of a usage query', () => {
  test('text and parameters, without filters and groups', () => {
    const { sql, params } = usageSql(QUERY, USAGE)
    expect(folded(sql)).toBe(
      folded(`
        SELECT roundDown(toInt64(toUnixTimestamp(bucket)) * 1000, {starts:Array(Int64)}) AS start_ms,
          '' AS subject_name,
          CAST([], 'Array(String)') AS groups,
          toString(sum(quantity)) AS quantity_text, toString(sum(events)) AS events_text
        FROM (SELECT usage)
        GROUP BY start_ms, subject_name, groups
        ORDER BY start_ms, subject_name, groups
        LIMIT ${MAX_USAGE_ROWS + 1}`),
    )
    expect(params).toEqual({ usage_tenant: 7, from_ms: 60_000, starts: [0, 60_000] })
  })

  test('groups are places of the meter’s dimensions', () => {
    const { sql } = usageSql({ ...QUERY, groups: [2, 1], bySubject: true }, USAGE)
    expect(folded(sql)).toContain("subject AS subject_name, CAST([group_values[2], group_values[1]], 'Array(String)')")
  })
})
