import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { createCounterLoader, type LoaderDeps } from '../../../ingest/quota/loader.ts'
import { createRedisQuotaStore, openRedis, redisReady } from '../../../ingest/quota/quota-store.redis.ts'
import type { CounterKey, QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { whenLoaded } from '../../../ingest/quota/when-loaded.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { type EmbeddedLog, openEmbeddedLog, openUsageStore } from '../../support/embedded-stores.ts'
import { NOVEMBER_20, recordsOf, usageEvent } from '../../support/log-events.ts'

/**
 * Two ingest processes, of which one draws 15 of 20 units and has not appended them when Redis loses everything. 6020 units
 * were once admitted of 6000 so (design.md §6: after a flush a closed meter admits nothing beyond its limit).
 */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const UNIT = 1_000_000n
const TOKENS = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' } as const
const SETTLES_MS = 2_000

describe.each([false, true])('Redis that lost everything (cluster: %s)', (cluster) => {
  let usage: ClickHouseStore
  let server: RedisServer
  let quota: QuotaStore
  let log: EmbeddedLog
  let counter: CounterKey
  let tenant = 0
  let made = 0

  beforeAll(async () => {
    ;[usage, server] = await Promise.all([openUsageStore(), startRedis({ cluster })])
    const client = openRedis(server.url)
    await redisReady(client, server.url)
    quota = createRedisQuotaStore(client, pino({ level: 'silent' }))
  })
  afterAll(async () => {
    await quota?.close()
    await Promise.all([server?.close(), usage?.close()])
  })
  beforeEach(async () => {
    log = await openEmbeddedLog(() => NOVEMBER_20)
    tenant++
    const window = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
    counter = { tenant, subject: 'customer-1', meter: 'tokens', ...window }
    await copyMeter(usage, tenant, 'tokens', TOKENS, { revision: 1 })
    await quota.load([{ counter, usedMicro: 0n }], NOVEMBER_20)
  })
  afterEach(() => log.close())

  const draw = async (tokens: bigint) => {
    const item = { identity: `e-${made++}`, draws: [{ counter, micro: tokens * UNIT, limitMicro: 20n * UNIT }] }
    return quota.draw([item], NOVEMBER_20, true)
  }
  /** What was drawn comes into the log, and what the pump does. */
  const append = async (tokens: number) => {
    await log.writer.append(recordsOf([usageEvent(`e-${made++}`, { tenant, data: { tokens } })], 3))
    await insertRecords(usage, log.lmdb.logId, await log.reader.read([0, 0, 0], 1e9))
  }
  const loader = (change: Partial<LoaderDeps>) =>
    createCounterLoader({
      ...{ quota, usage, writer: log.writer, now: () => NOVEMBER_20, settlesMs: SETTLES_MS },
      subjectsOf: async () => new Map(),
      drain: async () => undefined,
      ...change,
    })
  const take = async (load: ReturnType<typeof loader>, tokens: bigint) => {
    const answer = await whenLoaded(load, () => draw(tokens))
    return answer.decisions[0]?.taken
  }

  test('what another process had under way counts, once it had time to come into the log', async () => {
    expect(await draw(15n)).toMatchObject({ decisions: [{ taken: true }] })
    await server.admin.flushall()
    let appended: Promise<void> | undefined
    const memory: QuotaStore['memory'] = async (of) => {
      const answer = await quota.memory(of)
      appended ??= sleep(200).then(() => append(15))
      return answer
    }
    const load = loader({ quota: { ...quota, memory }, settlesMs: 5_000 })
    expect(await take(load, 6n)).toBe(false)
    expect(await take(load, 5n)).toBe(true)
    await appended
  })

  test('what was looked up before a second loss is not loaded after it', async () => {
    await server.admin.flushall()
    let losses = 0
    const lose: QuotaStore['load'] = async (...args) => {
      if (losses++ === 0) {
        // Meanwhile another process took everything, and appended it.
        await append(20)
        await server.admin.flushall()
      }
      return quota.load(...args)
    }
    expect(await take(loader({ quota: { ...quota, load: lose } }), 1n)).toBe(false)
    expect(losses).toBe(2)
  })

  test('a memory that is old enough makes nobody wait', async () => {
    await server.admin.flushall()
    await quota.memory(tenant)
    const before = await quota.memory(tenant)
    await vi.waitUntil(async () => (await quota.memory(tenant)).forMs >= 100, { timeout: 60_000 })
    let looks = 0
    const load = loader({ settlesMs: 100, drain: async () => void looks++ })
    expect(await take(load, 20n)).toBe(true)
    expect(await quota.memory(tenant)).toMatchObject({ since: before.since })
    expect(looks).toBe(1)
  })
})
