import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClickHouseUsageReader } from '../../../invoicer/billing/usage.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { formatQuantity } from '../../../schemas/quantity.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { DECEMBER, NOVEMBER } from '../support/world.ts'

const TENANT = 1
const HUGE = `6${'0'.repeat(25)}`
/** Of the most text for their length: each character stands as two in a statement. */
const NASTY = Array.from({ length: 1_000 }, (_, n) => `${'\\'.repeat(128)}${"'".repeat(120)}${n}`)
let store: ClickHouseStore

/** One event of a meter that sums `tokens`; all copies and shards are the aggregator's business. */
async function insertEvents(
  rows: readonly { id: string; subject: string; tokens: string }[],
  timeMs: (place: number) => number = () => Date.UTC(2023, 10, 15),
): Promise<void> {
  for (const [place, { id, subject, tokens }] of rows.entries()) {
    const data = JSON.stringify({ tokens })
    await store.command(
      `INSERT INTO events (tenant, shard, source, id, payload, type, subject, time, time_given, data, known_at, version)
       SELECT {tenant:UInt32}, 1, 'test', {id:String}, 1, 'llm.request', {subject:String}, {at:DateTime64(3, 'UTC')}, true,
         {data:String}, {at:DateTime64(3, 'UTC')}, 1`,
      { tenant: TENANT, id, subject, data, at: new Date(timeMs(place)).toISOString().slice(0, -1).replace('T', ' ') },
    )
  }
}

beforeAll(async () => {
  store = await openUsageStore()
  const tokens = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' } as const
  await copyMeter(store, TENANT, 'tokens', tokens, { revision: 1 })
  await store.command(
    `INSERT INTO shard_changes (tenant, shard, log, partition, known_hour, next_offset)
     VALUES (1, 1, 'log', 0, '2023-11-15 00:00:00', 9)`,
  )
  await insertEvents([
    { id: '1', subject: 'a', tokens: HUGE },
    { id: '2', subject: 'a', tokens: HUGE },
    { id: '3', subject: 'b', tokens: '1.5' },
    { id: '4', subject: NASTY[999]!, tokens: '2' },
  ])
})
afterAll(() => store.close())

const ask = (subjects: string[]) =>
  createClickHouseUsageReader(store)
    .quantities(TENANT, new Date(DECEMBER), [
      { key: 'k', meter: 'tokens', subjects, startMs: NOVEMBER, endMs: DECEMBER },
    ])
    .then((answers) => answers.get('k')!)

describe('usage read from ClickHouse', () => {
  test('beyond 26 digits is answered exactly: that it cannot be billed is not for the reading to say', async () => {
    const { quantity, events } = await ask(['a', 'b'])
    expect([formatQuantity(quantity), events]).toEqual([`12${'0'.repeat(25)}1.5`.replace(/01\.5$/, '1.5'), 3])
  })

  test('of a thousand subjects full of quotes needs several statements, each within what ClickHouse takes', async () => {
    const { quantity, events } = await ask(NASTY)
    expect([formatQuantity(quantity), events]).toEqual(['2', 1])
  })

  test('has totals over all identities, whatever meters count: those of the seal', async () => {
    const reader = createClickHouseUsageReader(store)
    const [row] = await store.query<{ digest: string }>(
      `SELECT toString(sumWithOverflow(reinterpretAsUInt128(sipHash128Reference(tenant, source, id)))) AS digest FROM events`,
    )
    expect(await reader.identityTotals(TENANT, new Date(DECEMBER))).toEqual({ events: 4, digest: BigInt(row!.digest) })
    expect(await reader.identityTotals(TENANT, new Date(NOVEMBER))).toEqual({ events: 0, digest: 0n })
    expect(await reader.identityTotals(2, new Date(DECEMBER))).toEqual({ events: 0, digest: 0n })
  })
})

/** Decision 0005 left it open: subscriptions by anniversary have a period each. */
test('of many periods is read by one statement, and is the same as period by period', async () => {
  const DAY = 86_400_000
  const [first, last] = [NOVEMBER + 3 * DAY, NOVEMBER + 25 * DAY]
  const usage = Array.from({ length: 40 }, (_, n) => ({ id: `p-${n}`, subject: `s-${n % 5}`, tokens: `${n + 1}.25` }))
  await insertEvents(usage, (n) => first + Math.floor((n * (last - first)) / 39 / 60_000) * 60_000)
  const many = Array.from({ length: 150 }, (_, n) => `s-${n}`)
  const requests = Array.from({ length: 30 }, (_, n) => ({
    key: `k-${n}`,
    meter: 'tokens',
    subjects: n % 10 === 9 ? many : [`s-${n % 5}`, `s-${(n + 1) % 5}`, `s-${n % 5}`].slice(0, 1 + (n % 2)),
    // From one event on, and to another one, which is not in it.
    startMs: first + Math.floor((n * (last - first)) / 39 / 60_000) * 60_000,
    endMs: n < 15 ? last : DECEMBER,
  }))
  const statements: string[] = []
  const query: ClickHouseStore['query'] = (sql, params) => {
    if (sql.includes('sum(events)')) statements.push(sql)
    return store.query(sql, params)
  }
  const nobody = { key: 'nobody', meter: 'tokens', subjects: [], startMs: NOVEMBER, endMs: DECEMBER }
  const reader = createClickHouseUsageReader({ ...store, query })
  const together = await reader.quantities(TENANT, new Date(DECEMBER), [...requests, nobody])
  expect(statements.length).toBe(1 + 3)
  for (const request of requests) {
    const alone = await createClickHouseUsageReader(store).quantities(TENANT, new Date(DECEMBER), [request])
    expect([request.key, together.get(request.key)]).toEqual([request.key, alone.get(request.key)])
  }
  expect(together.get('nobody')).toMatchObject({ events: 0 })
  expect(new Set([...together.values()].map(({ events }) => events)).size).toBeGreaterThan(5)
})

test('how a meter aggregates is asked once, and of one that is not known yet until it is', async () => {
  const asked: unknown[] = []
  const query: ClickHouseStore['query'] = (sql, params) => {
    if (sql.includes('any(aggregation)')) asked.push(params?.meters)
    return store.query(sql, params)
  }
  const reader = createClickHouseUsageReader({ ...store, query })
  const read = async (...meters: string[]) => {
    const requests = meters.map((meter) => ({ key: meter, meter, subjects: ['b'], startMs: NOVEMBER, endMs: DECEMBER }))
    const answers = await reader.quantities(TENANT, new Date(DECEMBER), requests)
    return meters.map((meter) => formatQuantity(answers.get(meter)!.quantity))
  }
  expect([await read('tokens'), await read('tokens')]).toEqual([['1.5'], ['1.5']])
  await expect(read('tokens', 'coming')).rejects.toMatchObject({ code: 'unavailable' })
  const coming = { event_type: 'llm.request', aggregation: 'count' } as const
  await copyMeter(store, TENANT, 'coming', coming, { revision: 4 })
  expect([await read('tokens', 'coming'), await read('coming')]).toEqual([['1.5', '1'], ['1']])
  expect(asked).toEqual([['tokens'], ['coming'], ['coming']])
})

/** Design §4: unique counts and maxima of several subjects are not the sum of theirs. */
test('meters that do not add up are read over all subjects of a request at once', async () => {
  const [call, shared] = [
    { event_type: 'llm.request', value: 'tokens' },
    { startMs: NOVEMBER, endMs: DECEMBER },
  ]
  await copyMeter(store, TENANT, 'sizes', { ...call, aggregation: 'unique_count' }, { revision: 2 })
  await copyMeter(store, TENANT, 'level', { ...call, aggregation: 'time_weighted_sum' }, { revision: 3 })
  const answers = await createClickHouseUsageReader(store).quantities(TENANT, new Date(DECEMBER), [
    { key: 'both', meter: 'sizes', subjects: ['a', 'b'], ...shared },
    { key: 'one', meter: 'sizes', subjects: ['a'], ...shared },
    { key: 'none', meter: 'sizes', subjects: ['nobody'], ...shared },
    // 1.5 from the 15th on: 16 of 30 days.
    { key: 'level', meter: 'level', subjects: ['b'], ...shared },
    { key: 'later', meter: 'level', subjects: ['b'], startMs: DECEMBER - 86_400_000, endMs: DECEMBER },
    // A day of it, averaged over 30; and that with another day together.
    ...[1, 2].map((days) => ({
      ...{ key: `of ${days}`, meter: 'level', subjects: ['b'], averagedOverMs: DECEMBER - NOVEMBER },
      ...between(20, 21, ...(days === 2 ? [28, 29] : [])),
    })),
  ])
  const shown = [...answers].map(([key, { quantity, events }]) => [key, formatQuantity(quantity), events])
  expect(shown).toEqual([
    ['both', '2', 3],
    ['one', '1', 2],
    ['none', '0', 0],
    ['level', '0.8', 1],
    ['later', '1.5', 0],
    ['of 1', '0.05', 0],
    ['of 2', '0.1', 0],
  ])
})

/** A request of the times between days of November, in pairs. */
function between(...days: number[]) {
  const atMs = (day: number) => NOVEMBER + (day - 1) * 86_400_000
  const parts = days.flatMap((day, index) =>
    index % 2 === 0 ? [{ startMs: atMs(day), endMs: atMs(days[index + 1]!) }] : [],
  )
  return { startMs: parts[0]!.startMs, endMs: parts.at(-1)!.endMs, ...(parts.length > 1 ? { parts } : {}) }
}

/** Where a plan has several parts of a period, they used to be added: who was there in each counted twice. */
test('parts of a period are counted together, and what lies between them not', async () => {
  const days = [3, 3, 10, 17, 17, 17]
  const values = ['7', '9', '50', '7', '2', '6']
  await insertEvents(
    values.map((tokens, n) => ({ id: `cut-${n}`, subject: 'cut', tokens })),
    (n) => NOVEMBER + (days[n]! - 1) * 86_400_000 + n * 60_000,
  )
  const meters = ['unique_count', 'max', 'average', 'sum'] as const
  for (const [place, aggregation] of meters.entries()) {
    const definition = { event_type: 'llm.request', aggregation, value: 'tokens' }
    await copyMeter(store, TENANT, `cut_${aggregation}`, definition, { revision: 10 + place })
  }
  const answers = await createClickHouseUsageReader(store).quantities(
    TENANT,
    new Date(DECEMBER),
    meters.flatMap((aggregation) => {
      const of = { meter: `cut_${aggregation}`, subjects: ['cut'] }
      return [
        { ...of, key: `${aggregation} in parts`, ...between(3, 4, 17, 18) },
        { ...of, key: `${aggregation} in all`, ...between(3, 18) },
      ]
    }),
  )
  const shown = [...answers].map(([key, { quantity, events }]) => `${key}: ${formatQuantity(quantity)} of ${events}`)
  expect(shown).toEqual([
    ...['unique_count in parts: 4 of 5', 'unique_count in all: 5 of 6', 'max in parts: 9 of 5', 'max in all: 50 of 6'],
    ...['average in parts: 6.2 of 5', 'average in all: 13.5 of 6', 'sum in parts: 31 of 5', 'sum in all: 81 of 6'],
  ])
})
