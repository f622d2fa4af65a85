import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { spanOf } from '../../../ingest/quota/counter-groups.ts'
import { createCounterLoader, type LoaderDeps } from '../../../ingest/quota/loader.ts'
import type { CounterKey } from '../../../ingest/quota/quota-store.ts'
import { bucketOf } from '../../../ingest/quota/rolling.ts'
import { usedMicro } from '../../../ingest/quota/usage.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { isStoredUpTo } from '../../../schemas/clickhouse/stored-ends.clickhouse.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { type EmbeddedLog, openEmbeddedLog, openUsageStore } from '../../support/embedded-stores.ts'
import { type EventChange, NOVEMBER_20, recordsOf, usageEvent } from '../../support/log-events.ts'

/** The subjects of customers. */
const CUSTOMERS = new Map([
  ['big', ['customer-1', 'customer-2', 'customer-4']],
  ['small', ['customer-3']],
])
const TOKENS = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' } as const

let store: ClickHouseStore
let log: EmbeddedLog
let tenant = 0
let drains: number
let queries: number
let deps: LoaderDeps

beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())
beforeEach(async () => {
  log = await openEmbeddedLog(() => NOVEMBER_20)
  tenant++
  drains = 0
  queries = 0
  await copyMeter(store, tenant, 'tokens', TOKENS, { revision: 1 })
  deps = {
    quota: log.quota,
    usage: {
      ...store,
      query: async (sql, params) => {
        // How far the log is stored, and what was used: what it takes to find that out is for the usage to know.
        if (/ FROM stored_ends| AS used /.test(sql)) queries++
        return store.query(sql, params)
      },
    },
    subjectsOf: async (_tenant, ids) => new Map([...CUSTOMERS].filter(([id]) => ids.includes(id))),
    writer: log.writer,
    drain: async () => void drains++,
    now: () => NOVEMBER_20,
  }
  return () => log.close()
})

const counter = (change: Partial<CounterKey> = {}): CounterKey => ({
  tenant,
  subject: 'customer-1',
  meter: 'tokens',
  startMs: Date.UTC(2026, 10, 1),
  endMs: Date.UTC(2026, 11, 1),
  ...change,
})

const append = (...events: [string, EventChange][]) =>
  log.writer.append(
    recordsOf(
      events.map(([id, change]) => usageEvent(id, { tenant, ...change })),
      3,
    ),
  )

/** What the pump does. */
async function storeAll(): Promise<void> {
  await insertRecords(store, log.lmdb.logId, await log.reader.read([0, 0, 0], 1e9))
}

async function remaining(key: CounterKey): Promise<bigint | 'missing'> {
  const limitMicro = 1_000_000_000n
  const item = { identity: `look-${Math.random()}`, draws: [{ counter: key, micro: 0n, limitMicro }] }
  const answer = await log.quota.draw([item], NOVEMBER_20, true)
  return 'missing' in answer ? 'missing' : (answer.decisions[0]?.remainingMicro ?? 0n)
}

describe('a missing counter is loaded from exact usage', () => {
  test('of its subject, meter and window alone, each identity once', async () => {
    await append(
      ['a', { data: { tokens: 5 } }],
      ['a', { data: { tokens: 5 }, timeGiven: false }],
      ['b', { data: { tokens: '2.5000001' } }],
      ['c', { data: { tokens: 100 }, subject: 'customer-2' }],
      ['d', { data: { tokens: 100 }, timeMs: Date.UTC(2026, 10, 1) - 1 }],
      ['e', { data: { tokens: 100 }, timeMs: Date.UTC(2026, 11, 1) }],
      ['f', { data: { tokens: 1 }, timeMs: Date.UTC(2026, 11, 1) - 1 }],
      ['g', { data: { tokens: 100 }, type: 'other' }],
      ['h', { data: { tokens: 100 }, tenant: tenant + 1_000 }],
    )
    await storeAll()
    // Rounded up to micro-units: never too little is drawn.
    expect(await usedMicro(store, spanOf([counter()]), ['customer-1', 'customer-3'])).toEqual(
      new Map([[counter().startMs, new Map([['customer-1', 8_500_001n]])]]),
    )
    await createCounterLoader(deps)([counter(), counter({ subject: 'customer-3' })])
    expect(await remaining(counter())).toBe(1_000_000_000n - 8_500_001n)
    expect(await remaining(counter({ subject: 'customer-3' }))).toBe(1_000_000_000n)
  })

  test('with what was accepted but is not stored yet: it waits until usage has caught up with the log', async () => {
    await append(['a', { data: { tokens: 5 } }])
    let loaded = false
    const loading = createCounterLoader(deps)([counter()]).then(() => {
      loaded = true
    })
    for (let look = 0; look < 5; look++) await store.ping()
    expect(loaded).toBe(false)
    expect(await isStoredUpTo(store, log.lmdb.logId, await log.writer.ends())).toBe(false)
    await storeAll()
    await loading
    expect(drains).toBe(1)
    expect(await remaining(counter())).toBe(995_000_000n)
  })

  test('once, however many requests ask for it', async () => {
    const load = createCounterLoader(deps)
    await Promise.all(Array.from({ length: 20 }, () => load([counter(), counter({ subject: 'other' })])))
    expect(drains).toBe(1)
    expect(queries).toBe(2)
  })

  test('together for all subjects of a request: one question for each meter and window', async () => {
    const subjects = Array.from({ length: 500 }, (_, n) => `s-${n}`)
    await append(...subjects.map((subject, n): [string, EventChange] => [subject, { subject, data: { tokens: n } }]))
    await storeAll()
    const counters = subjects.map((subject) => counter({ subject }))
    await createCounterLoader(deps)([...counters, counter({ startMs: Date.UTC(2026, 10, 20) })])
    expect(queries).toBe(3)
    for (const n of [0, 7, 499])
      expect(await remaining(counter({ subject: `s-${n}` }))).toBe(1_000_000_000n - BigInt(n) * 1_000_000n)
  })

  test('buckets of a rolling limit in one question, each what lies in it; one that nothing can lie in yet without any', async () => {
    const minutes = (count: number) => NOVEMBER_20 + count * 60_000
    const bucket = (atMs: number, subject = 'customer-1') =>
      counter({ ...bucketOf(atMs, 'rolling_hour'), subject, rolling: true })
    await append(
      ['a', { data: { tokens: 5 }, timeMs: minutes(0) }],
      ['b', { data: { tokens: 7 }, timeMs: minutes(-1) }],
      ['c', { data: { tokens: 11 }, timeMs: minutes(-5) }],
      ['d', { data: { tokens: 13 }, timeMs: minutes(-60) }],
      ['e', { data: { tokens: 17 }, timeMs: minutes(-5), subject: 'customer-2' }],
    )
    const ahead = bucket(minutes(10))
    await createCounterLoader(deps)([ahead])
    expect([await remaining(ahead), drains, queries]).toEqual([1_000_000_000n, 0, 0])
    await storeAll()
    // Here a bucket ends and another begins.
    const buckets = [bucket(minutes(0)), bucket(minutes(-5)), bucket(minutes(-60)), bucket(minutes(-5), 'customer-2')]
    await createCounterLoader(deps)([...buckets, ahead])
    const left = await Promise.all(buckets.map(remaining))
    expect(left.map((micro) => 1_000 - Number(micro) / 1_000_000)).toEqual([5, 18, 13, 17])
    expect(queries).toBe(2)
  })

  test('one of a customer from what all its subjects used', async () => {
    await append(
      ['a', { data: { tokens: 5 } }],
      ['b', { data: { tokens: 7 }, subject: 'customer-2' }],
      ['c', { data: { tokens: 11 }, subject: 'customer-3' }],
      ['d', { data: { tokens: 100 }, subject: 'customer-5' }],
    )
    await storeAll()
    const shared = ['big', 'small', 'without subjects'].map((subject) => counter({ subject, ofCustomer: true }))
    await createCounterLoader(deps)([...shared, counter()])
    const left = await Promise.all([...shared, counter()].map(remaining))
    expect(left.map((micro) => (1_000_000_000n - (micro as bigint)) / 1_000_000n)).toEqual([12n, 11n, 0n, 5n])
  })

  test('more than a statement can name in several, after one look', async () => {
    const long = 'x'.repeat(240)
    const subjects = Array.from({ length: 1_200 }, (_, n) => `${long}-${n}`)
    await append(
      ...subjects.map((subject, n): [string, EventChange] => [`e-${n}`, { subject, data: { tokens: n % 1_000 } }]),
    )
    await storeAll()
    await createCounterLoader(deps)(subjects.map((subject) => counter({ subject })))
    expect(drains).toBe(1)
    expect(queries).toBe(4)
    for (const n of [0, 499, 500, 1_199])
      expect(await remaining(counter({ subject: subjects[n]! }))).toBe(1_000_000_000n - BigInt(n % 1_000) * 1_000_000n)
  })

  test('what is missed while others are loaded is gathered: all of it is the next load, with a look of its own', async () => {
    let letGo = () => {}
    const held = new Promise<void>((done) => {
      letGo = done
    })
    let asked = 0
    const query: ClickHouseStore['query'] = async (sql, params) => {
      if (/ AS used /.test(sql) && asked++ === 0) await held
      return deps.usage.query(sql, params)
    }
    const load = createCounterLoader({ ...deps, usage: { ...store, query } })
    const first = load([counter()])
    while (asked === 0) await store.ping()
    await append(['a', { data: { tokens: 5 }, subject: 's-7' }])
    await storeAll()
    const later = Array.from({ length: 30 }, (_, n) => load([counter({ subject: `s-${n}` }), counter()]))
    letGo()
    await Promise.all([first, ...later])
    expect(drains).toBe(2)
    expect(queries).toBe(4)
    expect(await remaining(counter({ subject: 's-7' }))).toBe(995_000_000n)
  })

  test('a meter that cannot be counted fails nobody who did not ask for it', async () => {
    const query: ClickHouseStore['query'] = async (sql, params) => {
      if (JSON.stringify(params ?? {}).includes('broken')) throw new Error('no such meter')
      return store.query(sql, params)
    }
    const load = createCounterLoader({ ...deps, usage: { ...store, query } })
    const broken = counter({ meter: 'broken' })
    const loads = [load([counter()]), load([broken]), load([broken, counter({ subject: 'other' })])]
    expect((await Promise.allSettled(loads)).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected'])
    expect(drains).toBe(1)
    expect(await remaining(counter())).toBe(1_000_000_000n)
    await expect(load([broken])).rejects.toMatchObject({ code: 'unavailable' })
  })

  test('and never over one that is counted meanwhile', async () => {
    await log.quota.load([{ counter: counter(), usedMicro: 7_000_000n }], NOVEMBER_20)
    await createCounterLoader(deps)([counter()])
    expect(await remaining(counter())).toBe(993_000_000n)
  })

  test('usage away closes the limit: the request fails, to be sent again, and the next one tries anew', async () => {
    let away = true
    const query: ClickHouseStore['query'] = async (sql, params) => {
      if (away) throw new Error('away')
      return store.query(sql, params)
    }
    const load = createCounterLoader({ ...deps, usage: { ...store, query } })
    await expect(load([counter()])).rejects.toMatchObject({ code: 'unavailable' })
    expect(await remaining(counter())).toBe('missing')
    away = false
    await load([counter()])
    expect(await remaining(counter())).toBe(1_000_000_000n)
  })
})
