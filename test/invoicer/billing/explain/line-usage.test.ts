import { describe, expect, test } from 'vitest'
import { countedBy } from '../../../../invoicer/billing/explain/counted-events.ts'
import type { EventReader, Identity, Meter, Place } from '../../../../invoicer/billing/explain/events.ts'
import { countAgain, type LineUsage, pageOfEvents } from '../../../../invoicer/billing/explain/line-usage.ts'
import { encodeOperation, type Replacement } from '../../../../schemas/event/operation.ts'
import { parseValue } from '../../../../schemas/meter/expression.ts'
import { filterFormOf } from '../../../../schemas/meter/filter.ts'

const START = Date.UTC(2026, 10, 1)
const END = Date.UTC(2026, 11, 1)
const CHANGED = Date.UTC(2026, 10, 10)

const version = (value: string, fromMs: number, untilMs: number, filter?: object) => {
  return { fromMs, untilMs, eventType: 'call', value: parseValue(value), filter: filterFormOf(filter) }
}
const meterOf = (change: Partial<Meter> = {}): Meter => ({
  ...{ slug: 'm', aggregation: 'sum', window: undefined, percentile: undefined },
  versions: [
    version('tokens', Number.NEGATIVE_INFINITY, CHANGED),
    version('tokens * 2', CHANGED, Number.POSITIVE_INFINITY, { equals: { path: 'model', value: 'large' } }),
  ],
  ...change,
})

/** The later of its rows became known, the lower its version. */
let rows = 1_000_000n
const identity = (n: number, data: object, timeMs = START, subject = 'acme'): Identity => ({
  ...{ shard: '7', source: 's', id: String(n).padStart(6, '0'), hash: BigInt(n), operations: [] },
  first: { type: 'call', subject, timeMs, dataJson: JSON.stringify(data), version: rows--, knownAtMs: timeMs },
})
const corrected = (one: Identity, ...operations: [operation: string, replacement?: Replacement][]): Identity => ({
  ...one,
  // Postgres and ClickHouse promise no order.
  operations: operations
    .map(([operation, replacement]) => ({
      version: rows--,
      type: replacement ? 'tallyline.replace' : 'tallyline.void',
      dataJson: encodeOperation({ operation, reason: '', by: 'k', ...(replacement ? { replacement } : {}) }),
    }))
    .reverse(),
})
const replacement = (tokens: number, change: Partial<Replacement> = {}): Replacement => ({
  ...{ type: 'call', subject: 'acme', timeMs: START, dataJson: JSON.stringify({ tokens }) },
  ...change,
})

describe('how a meter counts an identity', () => {
  const counted = (one: Identity, meter = meterOf()) => countedBy(meter, new Set(['acme']))(one)?.quantity.toFixed()

  test('by the version and the filter of its time', () => {
    expect(counted(identity(1, { tokens: 3 }))).toBe('3')
    expect(counted(identity(1, { tokens: 3, model: 'large' }, CHANGED))).toBe('6')
    expect(counted(identity(1, { tokens: 3, model: 'small' }, CHANGED))).toBeUndefined()
    expect(counted(identity(1, { tokens: 3 }, START, 'globex'))).toBeUndefined()
  })

  test('what is no quantity counts 0, and below 0 only where a level may fall', () => {
    for (const tokens of ['many', -3, null, undefined, {}]) expect(counted(identity(1, { tokens }))).toBe('0')
    expect(counted(identity(1, { tokens: -3 }), meterOf({ aggregation: 'time_weighted_sum' }))).toBe('-3')
    expect(counted(identity(1, { tokens: 'many' }), meterOf({ aggregation: 'count' }))).toBe('1')
  })

  test('by the operation that became known last, copies of one told once', () => {
    const one = () => identity(1, { tokens: 3 })
    expect(counted(corrected(one(), ['a', replacement(5)]))).toBe('5')
    expect(counted(corrected(one(), ['a', replacement(5)], ['b']))).toBeUndefined()
    expect(counted(corrected(one(), ['a'], ['b', replacement(5)]))).toBe('5')
    expect(counted(corrected(one(), ['a', replacement(5)], ['b', replacement(6)], ['a', replacement(7)]))).toBe('6')
    expect(counted(corrected(one(), ['a', replacement(5, { subject: 'globex' })]))).toBeUndefined()
    expect(counted(corrected(identity(1, { tokens: 3 }, START, 'globex'), ['a', replacement(5)]))).toBe('5')
    expect(counted({ ...corrected(one(), ['a', replacement(5)]), first: undefined })).toBeUndefined()
  })
})

/** As the store reads them, behind a place and so many at most. */
function readerOf(meter: Meter, identities: readonly Identity[]): EventReader & { asked: number[] } {
  const asked: number[] = []
  return {
    asked,
    meter: async () => meter,
    identities: async (_tenant, _query, after: Place | undefined, limit) => {
      asked.push(limit)
      return identities.filter(({ id }) => after === undefined || id > after.id).slice(0, limit)
    },
    sealed: async () => ({ events: 0, digest: 0n }),
  }
}
const asked: LineUsage = {
  ...{ meter: 'm', subjects: ['acme'], knownBeforeMs: END },
  times: [{ startMs: START, endMs: END }],
}

test('thousands of events are read part by part, and pages of them miss none and repeat none', async () => {
  const many = Array.from({ length: 2_500 }, (_, n) =>
    identity(n, { tokens: 2 }, START, n % 5 === 0 ? 'other' : 'acme'),
  )
  const reader = readerOf(meterOf(), many)
  const { quantity, events, digest } = await countAgain(reader, 1, asked)
  const own = many.filter((_, n) => n % 5 !== 0)
  expect([quantity.toFixed(), events, digest]).toEqual(['4000', 2_000, own.reduce((sum, { hash }) => sum + hash, 0n)])
  expect(reader.asked.length).toBe(3)
  const found: string[] = []
  for (let after: Place | undefined; ; ) {
    const page = await pageOfEvents(reader, 1, asked, after, 700)
    found.push(...page.events.map((event) => event.identity.id))
    if (page.next === undefined) break
    after = page.next
  }
  expect(found).toEqual(own.map(({ id }) => id))
})

test('of times with others between them only those count, taken together where values are compared', async () => {
  const [first, gap, last] = [START, CHANGED, Date.UTC(2026, 10, 20)]
  const times = [
    { startMs: first, endMs: gap },
    { startMs: last, endMs: END },
  ]
  const meter = meterOf({ aggregation: 'max', versions: [version('tokens', Number.NEGATIVE_INFINITY, END)] })
  const events = [identity(1, { tokens: 4 }, first), identity(2, { tokens: 9 }, gap), identity(3, { tokens: 5 }, last)]
  const found = await countAgain(readerOf(meter, events), 1, { ...asked, times })
  expect([found.quantity.toFixed(), found.events, found.digest]).toEqual(['5', 2, 4n])
})

test('a level reaches in from before, though its events are not of the period', async () => {
  const meter = meterOf({ aggregation: 'time_weighted_sum', versions: [version('tokens', -1, END)] })
  const events = [identity(1, { tokens: 4 }, START - 60_000), identity(2, { tokens: 2 }, Date.UTC(2026, 10, 16))]
  const found = await countAgain(readerOf(meter, events), 1, asked)
  expect([found.quantity.toFixed(), found.events]).toEqual(['5', 1])
  // Of a part it is averaged over the period that the part is of: 6 in 10 of 30 days.
  const part = { times: [{ startMs: Date.UTC(2026, 10, 21), endMs: END }], averagedOverMs: END - START }
  expect((await countAgain(readerOf(meter, events), 1, { ...asked, ...part })).quantity.toFixed()).toBe('2')
})

test('a meter that the store does not know is no usage of 0', async () => {
  const reader = { ...readerOf(meterOf(), []), meter: async () => undefined }
  await expect(countAgain(reader, 1, asked)).rejects.toMatchObject({ code: 'unavailable' })
})
