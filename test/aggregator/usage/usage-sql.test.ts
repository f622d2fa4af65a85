import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MAX_USAGE_ROWS, type UsageQuery, usageSql } from '../../../aggregator/usage/usage.clickhouse.ts'
import { KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'

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
const folded = (sql: string) => sql.replace(/\s+/g, ' ').trim()

describe('the statement of a usage query', () => {
  test('text and parameters, without filters and groups', () => {
    const { sql, params } = usageSql(QUERY)
    expect(folded(sql)).toBe(
      folded(`
        SELECT roundDown(toInt64(toUnixTimestamp(bucket)) * 1000, {starts:Array(Int64)}) AS start_ms,
          '' AS subject_name,
          CAST([], 'Array(String)') AS groups,
          toString(sum(quantity)) AS quantity_text, toString(sum(events)) AS events_text
        FROM exact_usage(tenant = {tenant:UInt32}, meter = {meter:String}, from_ms = {from_ms:Int64},
          to_ms = {to_ms:Int64}, as_of_ms = {as_of_ms:Int64})
        GROUP BY start_ms, subject_name, groups
        ORDER BY start_ms, subject_name, groups
        LIMIT ${MAX_USAGE_ROWS + 1}`),
    )
    expect(params).toEqual({
      tenant: 7,
      meter: 'tokens',
      from_ms: 60_000,
      to_ms: 120_000,
      as_of_ms: KNOWN_UNTIL_NOW_MS,
      starts: [0, 60_000],
      subjects: [],
    })
  })

  test('subjects are a bound list; groups are places of the meter’s dimensions', () => {
    const { sql, params } = usageSql({ ...QUERY, subjects: ['a', "b'"], groups: [2, 1], bySubject: true })
    expect(folded(sql)).toContain('WHERE subject IN {subjects:Array(String)} GROUP BY')
    expect(folded(sql)).toContain("subject AS subject_name, CAST([group_values[2], group_values[1]], 'Array(String)')")
    expect(params.subjects).toEqual(['a', "b'"])
  })

  test('nothing that a caller sends stands in the text', () => {
    const text = fc.string({ unit: 'binary', minLength: 4, maxLength: 30 })
    fc.assert(
      fc.property(text, fc.array(text, { minLength: 1, maxLength: 4 }), fc.nat(), (meter, subjects, tenant) => {
        const asked = usageSql({ ...QUERY, tenant, meter, subjects })
        expect(asked.sql).toBe(usageSql({ ...QUERY, subjects: ['x'] }).sql)
        expect(asked.params).toMatchObject({ tenant, meter, subjects })
      }),
    )
  })
})
