import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClickHouseUsageReader, partsOf } from '../../../invoicer/billing/usage.clickhouse.ts'
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
async function insertEvents(rows: readonly { id: string; subject: string; tokens: string }[]): Promise<void> {
  for (const { id, subject, tokens } of rows) {
    const data = JSON.stringify({ tokens })
    await store.command(
      `INSERT INTO events (tenant, shard, source, id, payload, type, subject, time, time_given, data, known_at, version)
       SELECT {tenant:UInt32}, 1, 'test', {id:String}, 1, 'llm.request', {subject:String}, {at:DateTime64(3, 'UTC')}, true,
         {data:String}, {at:DateTime64(3, 'UTC')}, 1`,
      { tenant: TENANT, id, subject, data, at: '2023-11-15 00:00:00.000' },
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

describe('the subjects of a statement', () => {
  const textOf = (part: readonly string[]) => part.map((subject) => `'${subject.replace(/['\\]/g, '\\$&')}'`).join(',')

  test('are at most a thousand, and 128 KiB as text', () => {
    expect(partsOf([])).toEqual([])
    expect(partsOf(Array.from({ length: 2_001 }, (_, n) => `s${n}`)).map((part) => part.length)).toEqual([
      1000, 1000, 1,
    ])
    for (const subjects of [NASTY, NASTY.map((text) => text.replace(/[\\']/g, '€'))]) {
      const parts = partsOf(subjects)
      expect(parts.flat()).toEqual(subjects)
      expect(parts.length).toBeGreaterThan(1)
      for (const part of parts) expect(Buffer.byteLength(textOf(part))).toBeLessThanOrEqual(128 * 1024)
    }
  })
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
  ])
  const shown = [...answers].map(([key, { quantity, events }]) => [key, formatQuantity(quantity), events])
  expect(shown).toEqual([
    ['both', '2', 3],
    ['one', '1', 2],
    ['none', '0', 0],
    ['level', '0.8', 1],
    ['later', '1.5', 0],
  ])
})
