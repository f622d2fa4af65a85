import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { v7 } from 'uuid'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { EventLogReader } from '../../../aggregator/pump/event-log.ts'
import { createPump, type Pump } from '../../../aggregator/pump/pump.ts'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import { answerSealRequests, type SealDeps } from '../../../aggregator/seal/seal.ts'
import { identityTotals } from '../../../aggregator/seal/totals.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { type EmbeddedLog, openEmbeddedLog, openUsageStore, PARTITIONS } from '../../support/embedded-stores.ts'
import { type EventChange, NOVEMBER_20, recordsOf, usageEvent } from '../../support/log-events.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

type Seal = { known_before: Date; log_offsets: Record<string, number[]>; event_count: string; digest: string }

let database: TestDatabase
let store: ClickHouseStore
let log: EmbeddedLog
let pump: Pump
let tenant: number
let nowMs: number
let stopping: boolean
let deps: SealDeps
let made = 0

beforeAll(async () => {
  ;[database, store] = await Promise.all([createTestDatabase(), openUsageStore()])
})
afterAll(async () => {
  await store.close()
  await database.drop()
})
beforeEach(async () => {
  nowMs = NOVEMBER_20
  stopping = false
  tenant = await database.createTenant(`t-${made++}`)
  log = await openEmbeddedLog(() => nowMs)
  const logger = pino({ level: 'silent' })
  pump = createPump({ reader: log.reader, store, logger, now: () => nowMs })
  deps = {
    pool: database.pool,
    store,
    reader: log.reader,
    now: () => nowMs,
    stopping: () => stopping,
  }
})
afterEach(async () => {
  await pump.stop()
  await log.close()
})

const append = (ids: string[], change: EventChange = {}) =>
  log.writer.append(
    recordsOf(
      ids.map((id) => usageEvent(id, { tenant, ...change })),
      PARTITIONS,
    ),
  )

async function request(knownBeforeMs: number): Promise<string> {
  const sealId = v7()
  await withTenant(database.pool, tenant, (tx) =>
    tx.query('INSERT INTO seal_requests VALUES (app_tenant(), $1, $2, now())', [sealId, new Date(knownBeforeMs)]),
  )
  return sealId
}

async function sealOf(sealId: string, by = tenant): Promise<Seal | undefined> {
  const { rows } = await withTenant(database.pool, by, (tx) =>
    tx.query<Seal>('SELECT known_before, log_offsets, event_count, digest FROM seals WHERE seal_id = $1', [sealId]),
  )
  return rows[0]
}

async function sealed(knownBeforeMs: number): Promise<Seal> {
  const sealId = await request(knownBeforeMs)
  expect(await answerSealRequests(deps, tenant)).toBe(1)
  return (await sealOf(sealId))!
}

/** The sum of 128-bit hashes of the identities, modulo 2^128, worked out here; the hash itself is ClickHouse's. */
async function digestOf(ids: string[]): Promise<string> {
  const rows = await store.query<{ hash: string }>(
    `SELECT toString(reinterpretAsUInt128(sipHash128Reference(toUInt32({tenant:UInt32}), 'test', id))) AS hash
     FROM (SELECT arrayJoin({ids:Array(String)}) AS id)`,
    { tenant, ids },
  )
  return String(rows.reduce((sum, { hash }) => sum + BigInt(hash), 0n) % 2n ** 128n)
}

describe('a seal (invariant 5)', () => {
  test('holds W, the offsets reached, and count and digest of the identities first known before W', async () => {
    await append(['a', 'b'])
    nowMs += 1_000
    await append(['c'])
    await pump.start()
    const first = await sealed(NOVEMBER_20 + 1_000)
    expect(first).toEqual({
      known_before: new Date(NOVEMBER_20 + 1_000),
      log_offsets: { [log.lmdb.logId]: await log.reader.ends() },
      event_count: '2',
      digest: await digestOf(['a', 'b']),
    })
    expect(await sealed(NOVEMBER_20 + 1_000)).toEqual(first)
    nowMs += 1
    expect(await sealed(NOVEMBER_20 + 1_001)).toMatchObject({
      event_count: '3',
      digest: await digestOf(['a', 'b', 'c']),
    })
  })

  test('of nothing is a seal, too', async () => {
    await pump.start()
    expect(await sealed(nowMs)).toMatchObject({ event_count: '0', digest: '0' })
  })

  test('waits until W has passed: before it nobody knows what belongs to it', async () => {
    await pump.start()
    const sealId = await request(nowMs + 50)
    const answering = answerSealRequests(deps, tenant)
    await sleep(30)
    await append(['late, but before W'])
    expect(await sealOf(sealId)).toBeUndefined()
    nowMs += 50
    await answering
    expect(await sealOf(sealId)).toMatchObject({ event_count: '1' })
  })

  test('waits until everything up to the end of the log is stored', async () => {
    await append(['a', 'b', 'c'])
    nowMs += 1
    const sealId = await request(nowMs)
    let answered = false
    const answering = answerSealRequests(deps, tenant).then(() => {
      answered = true
    })
    await sleep(60)
    expect(answered).toBe(false)
    await pump.start()
    await answering
    expect(await sealOf(sealId)).toMatchObject({ event_count: '3' })
  })

  test('looks at the end of the log after W has passed, not before', async () => {
    await pump.start()
    const seen: number[] = []
    const reader: EventLogReader = {
      ...log.reader,
      ends: async () => {
        seen.push(nowMs)
        return log.reader.ends()
      },
    }
    const sealId = await request(nowMs + 10)
    const answering = answerSealRequests({ ...deps, reader }, tenant)
    await sleep(30)
    nowMs += 10
    await answering
    expect(seen).toEqual([NOVEMBER_20 + 10])
    expect(await sealOf(sealId)).toBeDefined()
  })

  test('is not changed by copies that come later, whatever their payload, nor by rollups and merges', async () => {
    await append(['a', 'b', 'c'])
    await pump.start()
    nowMs += 1_000
    const w = nowMs
    const before = await sealed(w)
    nowMs += 1_000
    await append(['a', 'b'])
    await append(['c'], { data: { tokens: 99 }, timeMs: NOVEMBER_20 - 86_400_000 })
    await append(['d'])
    const numbers = { event_count: before.event_count, digest: before.digest }
    expect(await sealed(w)).toMatchObject(numbers)
    const logger = pino({ level: 'silent' })
    expect(
      await rebuildTenant({ store, logger, now: () => Date.now() + 86_400_000, random20: () => 1 }, tenant),
    ).toBeGreaterThan(0)
    expect(await sealed(w)).toMatchObject(numbers)
    await store.command('OPTIMIZE TABLE events FINAL')
    expect(await sealed(w)).toMatchObject(numbers)
    nowMs += 1
    expect(await sealed(nowMs)).toMatchObject({ event_count: '4' })
  })

  test('cut at a full hour or inside one, from rollups and from events: the numbers are those of the set', async () => {
    const known: { id: string; atMs: number }[] = []
    for (let n = 0; n < 8; n++) {
      await append([`e-${n}`])
      known.push({ id: `e-${n}`, atMs: nowMs })
      nowMs += 20 * 60_000
    }
    await pump.start()
    await sealed(nowMs)
    const numbers = async () => {
      for (let atMs = NOVEMBER_20; atMs <= nowMs; atMs += 10 * 60_000) {
        const ids = known.filter((one) => one.atMs < atMs).map(({ id }) => id)
        const totals = await identityTotals(store, tenant, atMs)
        expect([totals.eventCount, totals.digest]).toEqual([String(ids.length), await digestOf(ids)])
      }
    }
    await numbers()
    const logger = pino({ level: 'silent' })
    await rebuildTenant({ store, logger, now: () => Date.now() + 86_400_000, random20: () => 1 }, tenant)
    await numbers()
  })
})

describe('requests', () => {
  test('are answered in their order, once, and only the tenant’s own (EPIC-5)', async () => {
    const other = await database.createTenant(`t-${made++}`)
    await append(['a'])
    await append(['x', 'y'], { tenant: other })
    await pump.start()
    nowMs += 1
    const ids = [await request(nowMs), await request(nowMs - 1)]
    expect(await answerSealRequests(deps, other)).toBe(0)
    expect(await answerSealRequests(deps, tenant)).toBe(2)
    expect(await answerSealRequests(deps, tenant)).toBe(0)
    expect((await Promise.all(ids.map((id) => sealOf(id)))).map((seal) => seal?.event_count)).toEqual(['1', '0'])
    expect(await sealOf(ids[0]!, other)).toBeUndefined()
  })

  test('of two aggregators that answer at once, one answer stands', async () => {
    await append(['a'])
    await pump.start()
    nowMs += 1
    const sealId = await request(nowMs)
    await Promise.all([answerSealRequests(deps, tenant), answerSealRequests(deps, tenant)])
    expect(await sealOf(sealId)).toMatchObject({ event_count: '1' })
  })

  test('stay open when the role stops or an answer fails, for the next start', async () => {
    await pump.start()
    const sealId = await request(nowMs + 1_000_000)
    const answering = answerSealRequests(deps, tenant)
    await sleep(30)
    stopping = true
    expect(await answering).toBe(0)
    stopping = false
    nowMs += 1_000_000
    const away: ClickHouseStore = { ...store, query: async () => Promise.reject(new Error('away')) }
    await expect(answerSealRequests({ ...deps, store: away }, tenant)).rejects.toThrow('away')
    expect(await sealOf(sealId)).toBeUndefined()
    expect(await answerSealRequests(deps, tenant)).toBe(1)
  })
})
