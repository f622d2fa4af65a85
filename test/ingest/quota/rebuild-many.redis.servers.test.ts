import { pino } from 'pino'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import { createCounterLoader } from '../../../ingest/quota/loader.ts'
import { createRedisQuotaStore, openRedis, redisReady } from '../../../ingest/quota/quota-store.redis.ts'
import type { CounterKey, QuotaStore } from '../../../ingest/quota/quota-store.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { type EmbeddedLog, openEmbeddedLog, openUsageStore, PARTITIONS } from '../../support/embedded-stores.ts'
import { NOVEMBER_20, recordsOf, usageEvent } from '../../support/log-events.ts'
import { uuid } from './ids.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 })

/** Issue 6: after a flush the counters of 100,000 subjects come back from rollups and the log's tail; target 10 s. */
const SUBJECTS = 100_000
const TAIL = 20_000
/** As requests of so many subjects ask for them, on so many connections. */
const [SUBJECTS_A_REQUEST, CONNECTIONS] = [500, 16]
const TENANT = 1
const UNIT = 1_000_000n
/** It was drawn on since the flush, and keeps what it has. */
const isThere = (subject: number) => subject % 1_000 === 999

let store: ClickHouseStore
let log: EmbeddedLog
let redis: RedisServer
let onRedis: QuotaStore
/** Units that each subject used. */
const used = new Array<number>(SUBJECTS).fill(0)
const stored = new Array<number>(PARTITIONS).fill(0)

beforeAll(async () => {
  ;[store, log, redis] = await Promise.all([openUsageStore(), openEmbeddedLog(() => NOVEMBER_20), startRedis()])
  const client = openRedis(redis.url)
  await redisReady(client, redis.url)
  onRedis = createRedisQuotaStore(client, pino({ level: 'silent' }))
  const tokens = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' } as const
  await copyMeter(store, TENANT, 'tokens', tokens, { revision: 1 })
  await use(Array.from({ length: SUBJECTS }, (_, subject) => [subject, 1 + (subject % 1_000)]))
  await storeRest()
  const ahead = { now: () => Math.max(Date.now(), NOVEMBER_20) + 7_200_000, random20: () => 1 }
  while ((await rebuildTenant({ store, logger: pino({ level: 'silent' }), ...ahead }, TENANT)) > 0) {}
})
afterAll(async () => {
  await onRedis?.close()
  await Promise.all([redis?.close(), log?.close(), store?.close()])
})

const counterOf = (subject: number): CounterKey => ({
  ...{ tenant: TENANT, subject: `customer-${subject}`, meter: 'tokens' },
  ...{ startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) },
})

/** Into the log. Their ids are of the last ten minutes. */
async function use(uses: [subject: number, units: number][]): Promise<void> {
  for (let from = 0; from < uses.length; from += 1_000) {
    const events = uses.slice(from, from + 1_000).map(([subject, tokens]) => {
      used[subject]! += tokens
      return usageEvent(uuid(-(subject % 10), NOVEMBER_20), { subject: `customer-${subject}`, data: { tokens } })
    })
    await log.writer.append(recordsOf(events, PARTITIONS))
  }
}

/** What the pump does. */
async function storeRest(): Promise<void> {
  const rows = await log.reader.read(stored, 1e9)
  await insertRecords(store, log.lmdb.logId, rows)
  for (const { partition, offset } of rows) stored[partition] = Math.max(stored[partition]!, offset + 1)
}

test.each([
  ['Redis', 0, () => onRedis],
  ['LMDB', 1, () => log.quota],
] as const)('100,000 counters are rebuilt on %s, each as it should be', async (name, run, open) => {
  const quota = open()
  const subjects = [...used.keys()]
  await quota.load(
    subjects.filter(isThere).map((subject) => ({ counter: counterOf(subject), usedMicro: 5n })),
    NOVEMBER_20,
  )
  // One half of the tail is stored and not rolled up, the other one only in the log.
  for (const half of [0, 1]) {
    await use(Array.from({ length: TAIL / 2 }, (_, n) => [(n * 4 + 2 * half + run) % SUBJECTS, 3]))
    if (half === 0) await storeRest()
  }
  let looks = 0
  const load = createCounterLoader({
    ...{ quota, usage: store, writer: log.writer, now: () => NOVEMBER_20 },
    subjectsOf: async () => new Map(),
    drain: async () => void looks++,
  })
  const [beganMs, beganCpu] = [performance.now(), process.cpuUsage()]
  let next = 0
  const connection = async () => {
    for (let from = next; from < SUBJECTS; from = next) {
      next += SUBJECTS_A_REQUEST
      await load(subjects.slice(from, from + SUBJECTS_A_REQUEST).map(counterOf))
    }
  }
  await Promise.all([storeRest(), ...Array.from({ length: CONNECTIONS }, connection)])
  const { user, system } = process.cpuUsage(beganCpu)
  const figures = { tookMs: Math.round(performance.now() - beganMs), cpuMs: Math.round((user + system) / 1_000), looks }
  process.stdout.write(`${SUBJECTS} counters rebuilt on ${name}: ${JSON.stringify(figures)}\n`)
  const wrong: string[] = []
  for (let from = 0; from < SUBJECTS; from += 1_000) {
    const page = subjects.slice(from, from + 1_000)
    const answer = await quota.read(page.map(counterOf), NOVEMBER_20)
    if ('missing' in answer) throw new Error(`${answer.missing.length} counters are missing`)
    answer.usedMicro.forEach((micro, place) => {
      const subject = page[place]!
      const right = isThere(subject) ? 5n : BigInt(used[subject]!) * UNIT
      if (micro !== right) wrong.push(`customer-${subject}: ${micro} instead of ${right}`)
    })
  }
  expect(wrong).toEqual([])
  // Requests that miss together share looks at the log.
  expect(looks).toBeLessThan(SUBJECTS / SUBJECTS_A_REQUEST)
})
