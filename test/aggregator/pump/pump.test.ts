import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { listDeadLetters } from '../../../aggregator/dead-letters/dead-letters.clickhouse.ts'
import type { EventLogReader } from '../../../aggregator/pump/event-log.ts'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { createPump, type Pump } from '../../../aggregator/pump/pump.ts'
import { identityTotals } from '../../../aggregator/seal/totals.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import { storedEnds } from '../../../schemas/clickhouse/stored-ends.clickhouse.ts'
import { type EmbeddedLog, openEmbeddedLog, openUsageStore, PARTITIONS } from '../../support/embedded-stores.ts'
import { batchOf, NOVEMBER_20, recordsOf, usageEvent } from '../../support/log-events.ts'

let store: ClickHouseStore
let log: EmbeddedLog
let tenant = 0
let nowMs: number
let logged: string[]
let pumps: Pump[]

beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())
beforeEach(async () => {
  nowMs = NOVEMBER_20
  log = await openEmbeddedLog(() => nowMs)
  tenant++
  logged = []
  pumps = []
})
afterEach(async () => {
  await Promise.all(pumps.map((pump) => pump.stop()))
  await log.close()
})

const logger = pino({ level: 'info' }, { write: (line: string) => void logged.push(line) })

async function startPump(wrapped: { store?: ClickHouseStore; reader?: EventLogReader } = {}): Promise<Pump> {
  const pump = createPump({ reader: log.reader, store, logger, now: () => nowMs, ...wrapped })
  pumps.push(pump)
  await pump.start()
  return pump
}

const append = (...ids: string[]) =>
  log.writer.append(
    recordsOf(
      ids.map((id) => usageEvent(id, { tenant })),
      PARTITIONS,
    ),
  )
const ids = (prefix: string, count: number) => Array.from({ length: count }, (_, n) => `${prefix}-${n}`)
const ends = () => storedEnds(store, log.lmdb.logId, PARTITIONS)

async function caughtUp(pump: Pump): Promise<void> {
  const wanted = await log.reader.ends()
  while (!wanted.every((end, partition) => (pump.positions()[partition] ?? 0) >= end)) await sleep(2)
}

async function storedIds(): Promise<string[]> {
  const rows = await store.query<{ id: string }>(
    'SELECT id FROM events FINAL WHERE tenant = {tenant:UInt32} ORDER BY length(id), id',
    { tenant },
  )
  return rows.map(({ id }) => id)
}

describe('the pump', () => {
  /** An insert of a few events costs nearly as much as one of thousands: decision 0021. */
  test('stores together what comes close together', async () => {
    let inserts = 0
    const insertAvro: ClickHouseStore['insertAvro'] = async (...args) => {
      inserts++
      return store.insertAvro(...args)
    }
    const pump = await startPump({ store: { ...store, insertAvro } })
    const startedMs = performance.now()
    for (const id of ids('close', 40)) {
      await append(id)
      await sleep(20)
    }
    await caughtUp(pump)
    expect(await storedIds()).toEqual(ids('close', 40))
    // However slow the machine is: 200 ms lie between two of them.
    expect(inserts).toBeLessThanOrEqual((performance.now() - startedMs) / 195 + 1)
  })

  test('stores what is in the log, and goes on with what comes', async () => {
    await append(...ids('a', 5))
    const pump = await startPump()
    await caughtUp(pump)
    expect(await storedIds()).toEqual(ids('a', 5))
    await append(...ids('b', 3))
    await caughtUp(pump)
    expect(await storedIds()).toEqual([...ids('a', 5), ...ids('b', 3)])
    expect(await ends()).toEqual(await log.reader.ends())
    expect(pump.positions()).toEqual(await log.reader.ends())
  })

  test('goes on after a restart where the stored ranges end, and reads nothing twice', async () => {
    await append(...ids('a', 5))
    const first = await startPump()
    await caughtUp(first)
    await first.stop()
    const before = await ends()
    await append(...ids('b', 5))
    const reads: (readonly (number | undefined)[])[] = []
    const reader: EventLogReader = {
      ...log.reader,
      read: async (positions, maxBytes) => {
        reads.push([...positions])
        return log.reader.read(positions, maxBytes)
      },
    }
    await caughtUp(await startPump({ reader }))
    expect(reads[0]).toEqual(before)
    expect(await storedIds()).toEqual([...ids('a', 5), ...ids('b', 5)])
  })

  test('a log that is another one starts from its beginning: its offsets are no progress of this one', async () => {
    await append(...ids('a', 3))
    await caughtUp(await startPump())
    expect(await storedEnds(store, 'another-log', PARTITIONS)).toEqual([0, 0, 0])
    const other = { ...log.reader, logId: 'another-log-2' }
    await caughtUp(await startPump({ reader: other }))
    // The same identities from another log count once all the same (invariant 1).
    expect(await identityTotals(store, tenant, KNOWN_UNTIL_NOW_MS)).toMatchObject({ eventCount: '3' })
  })

  test('progress is the time when something was stored, or nothing was to be (invariant 8)', async () => {
    const failing: ClickHouseStore = { ...store, insertAvro: async () => Promise.reject(new Error('away')) }
    const pump = await startPump({ store: failing })
    nowMs += 1_000
    while (pump.lastProgressMs() < nowMs) await sleep(2)
    await append('a')
    while (logged.length === 0) await sleep(2)
    const stuckAtMs = pump.lastProgressMs()
    nowMs += 60_000
    await sleep(50)
    expect(pump.lastProgressMs()).toBe(stuckAtMs)
  })
})

describe('a crash or an error between any two statements repeats what changes nothing (invariant 2)', () => {
  test.each([0, 1, 2, 3])('after %i of three', async (done) => {
    let failures = 2
    const broken: ClickHouseStore = {
      ...store,
      insertAvro: async (file, statements, params) => {
        if (failures-- <= 0) return store.insertAvro(file, statements, params)
        await store.insertAvro(file, statements.slice(0, done), params)
        throw Object.assign(new Error('the connection broke'), { code: 'ECONNRESET' })
      },
    }
    await append(...ids('a', 20))
    const pump = await startPump({ store: broken })
    await caughtUp(pump)
    expect(await storedIds()).toEqual(ids('a', 20))
    expect(await ends()).toEqual(await log.reader.ends())
    const [row] = await store.query<{ events: string }>(
      'SELECT toString(sum(events)) AS events FROM ingest_ranges FINAL WHERE log = {log:String}',
      { log: log.lmdb.logId },
    )
    expect(row?.events).toBe('20')
    expect(logged).toHaveLength(2)
  })

  test('everything once more: no number moves', async () => {
    await append(...ids('a', 30))
    await caughtUp(await startPump())
    const state = async () => [await ends(), await identityTotals(store, tenant, KNOWN_UNTIL_NOW_MS), await storedIds()]
    const before = await state()
    const rows = await log.reader.read([0, 0, 0], 1e9)
    for (let again = 0; again < 3; again++) await insertRecords(store, log.lmdb.logId, rows)
    await insertRecords(store, log.lmdb.logId, rows.slice(1, 2))
    expect(await state()).toEqual(before)
  })

  test('while the store is away the log keeps; afterwards the pump catches up, in order', async () => {
    let away = true
    const flaky: ClickHouseStore = {
      ...store,
      insertAvro: async (...args) => {
        if (away) throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
        return store.insertAvro(...args)
      },
    }
    const pump = await startPump({ store: flaky })
    for (let n = 0; n < 10; n++) await append(...ids(`r${n}`, 4))
    while (logged.length === 0) await sleep(2)
    expect(await storedIds()).toEqual([])
    away = false
    await caughtUp(pump)
    expect(await storedIds()).toHaveLength(40)
    expect(logged.some((line) => line.includes('tries again'))).toBe(true)
  })
})

describe('a record that cannot be read', () => {
  const good = (id: string) => batchOf([usageEvent(id, { tenant })])
  const BROKEN = [
    Buffer.from('this is no Avro at all, but a text'),
    Buffer.alloc(0),
    Buffer.from('ffffffffffffffffffffffff', 'hex'),
    // One event whose source says it is 8 GiB long.
    Buffer.from('0202028080808040', 'hex'),
  ]
  const deadOf = async () => (await listDeadLetters(store, 0, 1_000)).filter((one) => one.log === log.lmdb.logId)

  test('is kept whole as a dead letter, and everything around it goes on (invariant 4)', async () => {
    const records = [...BROKEN, good('x').subarray(0, 30)]
    for (const [n, record] of records.entries()) {
      await log.writer.append([
        { partition: 0, record: good(`before-${n}`) },
        { partition: 0, record },
        { partition: 0, record: good(`after-${n}`) },
        { partition: n % PARTITIONS, record: good(`beside-${n}`) },
      ])
    }
    const pump = await startPump()
    await caughtUp(pump)
    expect(await storedIds()).toHaveLength(3 * records.length)
    const dead = await deadOf()
    expect(dead.map((one) => one.bytes_base64).sort()).toEqual(records.map((one) => one.toString('base64')).sort())
    for (const one of dead) expect(one.reason).not.toBe('')
    expect(await ends()).toEqual(await log.reader.ends())
    expect(logged.filter((line) => line.includes('dead letter'))).toHaveLength(records.length)
  })

  test('is one dead letter, however often it is read', async () => {
    await log.writer.append([{ partition: 1, record: BROKEN[0]! }])
    const first = await startPump()
    await caughtUp(first)
    await first.stop()
    expect(await deadOf()).toHaveLength(1)
    await store.command('ALTER TABLE ingest_ranges DELETE WHERE log = {log:String} SETTINGS mutations_sync = 2', {
      log: log.lmdb.logId,
    })
    await caughtUp(await startPump())
    expect(await deadOf()).toHaveLength(1)
  })

  test('does not swallow its neighbour: zeros begin like an empty batch, and go on after its end', async () => {
    await log.writer.append([
      { partition: 0, record: Buffer.alloc(64) },
      { partition: 0, record: good('neighbour') },
    ])
    await caughtUp(await startPump())
    expect(await storedIds()).toEqual(['neighbour'])
    expect((await deadOf()).map((one) => one.reason)).toEqual([expect.stringContaining('it goes on after its end')])
    expect(await ends()).toEqual([2, 0, 0])
  })

  test('is not taken for one when the store is at fault: then the record waits', async () => {
    let calls = 0
    const full: ClickHouseStore = {
      ...store,
      insertAvro: async (...args) => {
        // 243: NOT_ENOUGH_SPACE
        if (++calls < 3) throw Object.assign(new Error('no space left'), { code: '243' })
        return store.insertAvro(...args)
      },
    }
    await append('a')
    await caughtUp(await startPump({ store: full }))
    expect(await storedIds()).toEqual(['a'])
    expect(await deadOf()).toEqual([])
  })
})
