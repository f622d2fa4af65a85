import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compileEventType } from '../../../ingest/event-types/avro-schema.ts'
import { OPEN_TYPE } from '../../../ingest/event-types/open-type.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'

let store: ClickHouseStore

beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())

const DECLARED = compileEventType(
  {
    type: 'record',
    name: 'Numbers',
    fields: [
      { name: 'n', type: ['null', 'long', 'double', 'float', 'string'] },
      { name: 'beside', type: 'string' },
    ],
  },
  'refuse',
)
const number = fc.oneof(
  fc.double({ noNaN: true }),
  fc.integer(),
  fc.tuple(fc.constantFrom(1, -1), fc.nat({ max: 1_100 })).map(([sign, bits]) => sign * 2 ** bits),
  fc.constantFrom(2 ** 63, 2 ** 64, -(2 ** 63), 1e19, 1e20, 1e21, 1e308, 5e-324, 1e-7, 9007199254740991),
)

/** What ClickHouse reads beside the number in each document. */
async function readBeside(documents: readonly string[]): Promise<string[]> {
  const rows = await store.query<{ beside: string }>(
    "SELECT JSONExtractString(arrayJoin({documents:Array(String)}), 'beside') AS beside",
    { documents },
  )
  return rows.map(({ beside }) => beside)
}

/**
 * design.md §2.2: data is JSON as re-encoded by us, so that every reader sees the same. ClickHouse's JSON functions give
 * nothing at all of a document with a whole number beyond 64 bits: all of the event's quantities would count 0.
 */
describe('whatever number the edge takes, ClickHouse reads what stands beside it', () => {
  test.each([
    ['in a declared field', DECLARED],
    ['under an open type', OPEN_TYPE],
  ])('%s', async (_where, type) => {
    await fc.assert(
      fc.asyncProperty(fc.array(number, { minLength: 20, maxLength: 100 }), async (numbers) => {
        const checked = numbers.map((n) => type.validate({ n, beside: 'read' }))
        const documents = checked.flatMap((one) => (one.ok ? [one.json] : []))
        expect(await readBeside(documents)).toEqual(documents.map(() => 'read'))
        for (const [place, one] of checked.entries()) {
          // What no 64-bit reader can hold is refused where it was sent, with what to do.
          if (Math.abs(numbers[place]!) < 2 ** 63) continue
          expect(one).toMatchObject({ ok: false, code: 'invalid_value', path: 'data.n' })
        }
      }),
      { numRuns: 10 },
    )
  })

  test('sent as a string it is taken, with all its digits', async () => {
    for (const type of [DECLARED, OPEN_TYPE]) {
      const checked = type.validate({ n: '36893488147419103232', beside: 'read' })
      expect(checked).toMatchObject({ ok: true, json: expect.stringContaining('"36893488147419103232"') })
      if (checked.ok) expect(await readBeside([checked.json])).toEqual(['read'])
    }
  })

  test('and a document that was not re-encoded so is the one that it does not read', async () => {
    expect(await readBeside(['{"n":36893488147419103232,"beside":"read"}'])).toEqual([''])
  })
})
