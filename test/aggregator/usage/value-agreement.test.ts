import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { evaluatorOf } from '../../../schemas/meter/evaluate.ts'
import { parseValue } from '../../../schemas/meter/expression.ts'
import { type FilterInput, filterFormOf, passes } from '../../../schemas/meter/filter.ts'
import { formatQuantity, parseSum } from '../../../schemas/quantity.ts'
import { printTree, tree } from '../../schemas/meter/arbitrary-expression.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, usageEvent } from '../../support/log-events.ts'

let store: ClickHouseStore
let tenant = 0

beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())

type Data = Record<string, unknown>

/** Quantity and events per subject; every event has a subject of its own. */
async function counted(meter: string): Promise<Map<string, [quantity: string, events: number]>> {
  const rows = await store.query<{ subject: string; quantity: string; events: string }>(
    `SELECT subject, toString(sum(quantity)) AS quantity, toString(sum(events)) AS events
     FROM exact_usage(tenant = {tenant:UInt32}, meter = {meter:String}, from_ms = 0, to_ms = 4102444800000, as_of_ms = {now:Int64})
     GROUP BY subject`,
    { tenant, meter, now: KNOWN_UNTIL_NOW_MS },
  )
  return new Map(
    rows.map(({ subject, quantity, events }) => [subject, [formatQuantity(parseSum(quantity)), Number(events)]]),
  )
}

async function storeEvents(datas: readonly Data[]): Promise<void> {
  const events = datas.map((data, n) => usageEvent(`e-${n}`, { tenant, subject: `s-${n}`, data }))
  await insertRecords(store, `log-${tenant}`, [logRow(events)])
}

const quantity = fc.oneof(
  fc.nat({ max: 1000 }),
  fc.constantFrom<unknown>(
    '0.000000000001',
    '0.333333333333',
    '99999999999999999999999999.999999999999',
    0.1,
    '7',
    null,
  ),
  fc.bigInt({ min: 0n, max: 10n ** 30n }).map((n) => `${n / 10n ** 12n}.${String(n % 10n ** 12n).padStart(12, '0')}`),
)
const negative = quantity.map((one) => (one === null || one === 0 ? one : typeof one === 'number' ? -one : `-${one}`))
/** Values that are none, and which nothing makes one. */
const never = fc.constantFrom<unknown>('x', true, 1e26, -1e26, 1e30, 1e80, -1e80, '100000000000000000000000000', 1e-13)
const found = fc.oneof(
  { weight: 8, arbitrary: quantity },
  { weight: 4, arbitrary: negative },
  { weight: 1, arbitrary: never },
)
const data = fc.record<Data>({ a: found, b: found, c: found, d: fc.record({ e: found }) }, { requiredKeys: [] })
const value = tree.map(printTree).filter((text) => {
  try {
    return parseValue(text) !== undefined
  } catch (error) {
    if (error instanceof Problem) return false
    throw error
  }
})

/** Each step of shrinking is a tenant with queries: the first find has to do. */
const FEW_RUNS = { numRuns: 6, endOnFailure: true }

describe('what the edge makes of an event is what ClickHouse makes of it', () => {
  /** A change of a level may be negative, and nothing else. */
  test.each([
    ['sum', false],
    ['time_weighted_sum', true],
  ] as const)(
    'the value of an expression under %s, cut alike, to the last place (invariant 6)',
    async (kind, signed) => {
      let [compared, below] = [0, 0]
      await fc.assert(
        fc.asyncProperty(
          fc.array(value, { minLength: 4, maxLength: 4 }),
          fc.array(data, { minLength: 10, maxLength: 20 }),
          async (values, datas) => {
            tenant++
            for (const [n, text] of values.entries()) {
              const input = { event_type: 'llm.request', aggregation: kind, value: text }
              await copyMeter(store, tenant, `m-${n}`, input, { revision: n + 1 })
            }
            await storeEvents(datas)
            for (const [n, text] of values.entries()) {
              const rows = await counted(`m-${n}`)
              for (const [place, one] of datas.entries()) {
                const edge = evaluatorOf(parseValue(text), signed)(one)
                // What the edge refuses counts 0, where it is older than the meter.
                const expected =
                  edge === undefined
                    ? '0'
                    : edge
                        .toFixed()
                        .replace(/(\.\d*?)0+$/, '$1')
                        .replace(/\.$/, '')
                if (edge !== undefined && expected !== '0') compared++
                if (expected.startsWith('-')) below++
                expect([text, one, rows.get(`s-${place}`)]).toEqual([text, one, [expected, 1]])
              }
            }
          },
        ),
        FEW_RUNS,
      )
      expect(compared).toBeGreaterThan(50)
      expect(below > 20).toBe(signed)
    },
  )

  test('whether a filter lets it through', async () => {
    const path = fc.constantFrom('a', 'b', 'd.e')
    const text = fc.constantFrom('1', '10', 'x', 'true', '0.5', 'é"\\', '-3', '1.50')
    const leaf: fc.Arbitrary<FilterInput> = fc.oneof(
      fc.record({ in: fc.record({ path, values: fc.array(text, { minLength: 1, maxLength: 2 }) }) }),
      fc.record({ exists: fc.record({ path }) }),
      fc.record({
        compare: fc.record({
          path,
          op: fc.constantFrom('lt', 'lte', 'gt', 'gte'),
          value: fc.constantFrom('0', '1.5', '10'),
        }),
      }),
    )
    const filter: fc.Arbitrary<FilterInput> = fc.oneof(
      leaf,
      leaf.map((one) => ({ not: one })),
      fc.tuple(leaf, leaf, leaf).map(([one, two, three]) => ({ or: [one, { and: [two, { not: three }] }] })),
    )
    const found = fc.constantFrom<unknown>(
      1,
      10,
      -3,
      0.5,
      '1',
      '1.5',
      '1.50',
      'x',
      'é"\\',
      true,
      false,
      null,
      {},
      [],
      [1],
      0,
      '',
    )
    const some = fc.record<Data>({ a: found, b: found, d: fc.record({ e: found }) }, { requiredKeys: [] })
    let through = 0
    let held = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(filter, { minLength: 5, maxLength: 5 }),
        fc.array(some, { minLength: 15, maxLength: 15 }),
        async (filters, datas) => {
          tenant++
          for (const [n, one] of filters.entries()) {
            const input = { event_type: 'llm.request', aggregation: 'count' as const, filter: one }
            await copyMeter(store, tenant, `m-${n}`, input, { revision: n + 1 })
          }
          await storeEvents(datas)
          for (const [n, one] of filters.entries()) {
            const rows = await counted(`m-${n}`)
            for (const [place, event] of datas.entries()) {
              const expected = passes(filterFormOf(one), event)
              if (expected) through++
              else held++
              expect([one, event, rows.has(`s-${place}`)]).toEqual([one, event, expected])
            }
          }
        },
      ),
      FEW_RUNS,
    )
    expect(Math.min(through, held)).toBeGreaterThan(50)
  })
})
