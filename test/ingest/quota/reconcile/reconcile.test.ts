import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { insertRecords } from '../../../../aggregator/pump/insert.clickhouse.ts'
import type { CounterKey } from '../../../../ingest/quota/quota-store.ts'
import { type ReconcileDeps, reconcileCounters } from '../../../../ingest/quota/reconcile/reconcile.ts'
import { bucketOf } from '../../../../ingest/quota/rolling.ts'
import { openPool } from '../../../../ops/access/pool.postgres.ts'
import type { ClickHouseStore } from '../../../../schemas/clickhouse/store.ts'
import { copyMeter } from '../../../support/copy-meter.ts'
import { type EmbeddedLog, openEmbeddedLog, openUsageStore, PARTITIONS } from '../../../support/embedded-stores.ts'
import { NOVEMBER_20, recordsOf, usageEvent } from '../../../support/log-events.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'

const TOKENS = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' } as const
/** Passes follow each other at once; what is too high stands at once for as long as it has to. */
const TIMES = { everyMs: 20, settleMs: 0, waitMs: 10_000, standsMs: 0 }
/** A bound against hanging: other work may share the machine. */
const PATIENCE = { timeout: 60_000 }
const SERIES = /^billing_quota_\w+\{.*$/gm

let database: TestDatabase
let store: ClickHouseStore
let log: EmbeddedLog
beforeAll(async () => {
  ;[database, store, log] = await Promise.all([
    createTestDatabase(),
    openUsageStore(),
    openEmbeddedLog(() => NOVEMBER_20),
  ])
})
afterAll(async () => {
  await log.close()
  await store.close()
  await database.drop()
})

/** Issue 6: "Reconciliation of counters with rollups every minute; drift is a metric"; HC-5: it explains. */
test('one process of two compares, corrects and tells: in the log, and as metrics', async () => {
  const tenant = await database.createTenant('acme')
  await copyMeter(store, tenant, 'tokens', TOKENS, { revision: 1 })
  const window = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
  const counterOf = (subject: string): CounterKey => ({ tenant, subject, meter: 'tokens', ...window })
  const events = ['low', 'high', 'right'].map((subject) =>
    usageEvent(subject, { tenant, subject, data: { tokens: 10 } }),
  )
  await log.writer.append(recordsOf(events, PARTITIONS))
  await insertRecords(store, log.lmdb.logId, await log.reader.read(Array(PARTITIONS).fill(0), 1e9))
  const planted = { low: 4_000_000n, high: 12_500_000n, right: 10_000_000n }
  const uses = Object.entries(planted).map(([subject, usedMicro]) => ({ counter: counterOf(subject), usedMicro }))
  await log.quota.load(uses, NOVEMBER_20)

  const lines: Record<string, unknown>[] = []
  const openProcess = () => {
    const metrics = new Registry()
    const deps: ReconcileDeps = {
      ...{ pool: database.pool, quota: log.quota, usage: store, writer: log.writer, metrics, now: () => NOVEMBER_20 },
      subjectsOf: async () => new Map(),
      logger: pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) }),
    }
    const keeper = reconcileCounters(deps, TIMES)
    return { keeper, series: async () => (await metrics.metrics()).match(SERIES) ?? [] }
  }
  const [one, other] = [openProcess(), openProcess()]
  one.keeper.start()
  await expect.poll(one.series, PATIENCE).toContain('billing_quota_drift{tenant="acme"} 0')
  other.keeper.start()
  await expect
    .poll(one.series, PATIENCE)
    .toEqual([
      'billing_quota_drift{tenant="acme"} 0',
      'billing_quota_drift_counters{tenant="acme"} 0',
      'billing_quota_corrections_total{tenant="acme"} 2',
    ])
  const counters = uses.map(({ counter }) => counter)
  const living = await log.quota.lookAt(counters, NOVEMBER_20)
  expect(living.map(({ usedMicro }) => usedMicro)).toEqual([10_000_000n, 10_000_000n, 10_000_000n])
  const said = {
    ...{ level: 40, service: 'ingest', event: 'quota_drift', tenant: 'acme', meter: 'tokens', state: 'corrected' },
    ...{ starts_at: '2026-11-01T00:00:00.000Z', ends_at: '2026-12-01T00:00:00.000Z', usage: '10', held: '0' },
    msg: 'a quota counter was corrected',
  }
  expect(lines).toHaveLength(2)
  expect(lines).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ ...said, subject: 'low', counter: '4', difference: '-6', cause: expect.any(String) }),
      expect.objectContaining({ ...said, subject: 'high', counter: '12.5', difference: '2.5' }),
    ]),
  )
  expect(await other.series()).toEqual([])
  // The other one takes its turn.
  await one.keeper.stop()
  await expect.poll(other.series, PATIENCE).toContain('billing_quota_drift{tenant="acme"} 0')
  await other.keeper.stop()
})

/** HC-5: what the product did to a counter is told, whatever else fails. */
test.each(['causes', 'tenants'])(
  'a correction is logged and counted even if it cannot be asked for %s',
  async (what) => {
    const tenant = await database.createTenant(`without-${what}`)
    await copyMeter(store, tenant, 'tokens', TOKENS, { revision: 3 })
    const counter: CounterKey = { tenant, subject: 'u', meter: 'tokens', startMs: 0, endMs: Date.UTC(2027, 0, 1) }
    await log.quota.load([{ counter, usedMicro: 1_500_000n }], NOVEMBER_20)
    const query: ClickHouseStore['query'] = async (sql, params) => {
      if (what === 'causes' && sql.includes('AS corrected')) throw new Error('usage is away')
      return store.query(sql, params)
    }
    const pool = openPool(database.ownerUrl, 2, () => undefined)
    if (what === 'tenants') Object.assign(pool, { query: () => Promise.reject(new Error('Postgres is away')) })
    const metrics = new Registry()
    const lines: Record<string, unknown>[] = []
    const deps: ReconcileDeps = {
      ...{ pool, quota: log.quota, usage: { ...store, query }, writer: log.writer, metrics, now: () => NOVEMBER_20 },
      subjectsOf: async () => new Map(),
      logger: pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) }),
    }
    const keeper = reconcileCounters(deps, TIMES)
    keeper.start()
    const name = what === 'causes' ? `without-${what}` : String(tenant)
    const series = async () => (await metrics.metrics()).match(SERIES) ?? []
    await expect.poll(series, PATIENCE).toContain(`billing_quota_corrections_total{tenant="${name}"} 1`)
    await keeper.stop()
    await pool.end()
    const told = { event: 'quota_drift', tenant: name, state: 'corrected', counter: '1.5', usage: '0' }
    expect(lines).toContainEqual(expect.objectContaining(told))
    expect(lines).toContainEqual(
      expect.objectContaining({ err: expect.objectContaining({ message: expect.stringMatching(/ is away$/) }) }),
    )
  },
)

test('what differs and cannot be corrected yet is a metric', async () => {
  const tenant = await database.createTenant('globex')
  await copyMeter(store, tenant, 'tokens', TOKENS, { revision: 2 })
  const counter: CounterKey = { tenant, subject: 'u', meter: 'tokens', startMs: 0, endMs: Date.UTC(2027, 0, 1) }
  await log.quota.load(
    [
      { counter, usedMicro: 1_500_000n },
      { counter: { ...counter, subject: 'v' }, usedMicro: 250_000n },
    ],
    NOVEMBER_20,
  )
  const metrics = new Registry()
  const deps: ReconcileDeps = {
    ...{ pool: database.pool, quota: log.quota, usage: store, writer: log.writer, metrics, now: () => NOVEMBER_20 },
    subjectsOf: async () => new Map(),
    logger: pino({ level: 'silent' }),
  }
  const keeper = reconcileCounters(deps, { ...TIMES, standsMs: 1 })
  keeper.start()
  const series = async () => (await metrics.metrics()).match(SERIES) ?? []
  await expect
    .poll(series, PATIENCE)
    .toEqual(
      expect.arrayContaining([
        'billing_quota_drift{tenant="globex"} 1.75',
        'billing_quota_drift_counters{tenant="globex"} 2',
        'billing_quota_corrections_total{tenant="globex"} 0',
      ]),
    )
  await keeper.stop()
})

/** Buckets of rolling limits are counters like any, and neighbours are counted together. */
test('each bucket of a rolling limit is compared with what lies in it', async () => {
  const tenant = await database.createTenant('initech')
  await copyMeter(store, tenant, 'tokens', TOKENS, { revision: 4 })
  const at = (minutes: number) => NOVEMBER_20 + minutes * 60_000
  const bucket = (minutes: number): CounterKey => {
    return { tenant, subject: 'r', meter: 'tokens', ...bucketOf(at(minutes), 'rolling_hour'), rolling: true }
  }
  // Of these times a bucket may as well be another window's.
  const { rolling: _, ...plain } = bucket(-10)
  const events = [-20, -10, 0].map((minutes) =>
    usageEvent(`r${minutes}`, { tenant, subject: 'r', timeMs: at(minutes), data: { tokens: 10 - minutes } }),
  )
  const before = await log.reader.ends()
  await log.writer.append(recordsOf(events, PARTITIONS))
  await insertRecords(store, log.lmdb.logId, await log.reader.read(before, 1e9))
  const planted = [bucket(-20), bucket(-10), bucket(0), plain].map((counter, place) => {
    return { counter, usedMicro: [30n, 26n, 4n, 20n][place]! * 1_000_000n }
  })
  await log.quota.load(planted, NOVEMBER_20)
  const deps: ReconcileDeps = {
    ...{ pool: database.pool, quota: log.quota, usage: store, writer: log.writer, now: () => NOVEMBER_20 },
    ...{ metrics: new Registry(), subjectsOf: async () => new Map(), logger: pino({ level: 'silent' }) },
  }
  const keeper = reconcileCounters(deps, TIMES)
  keeper.start()
  const used = async () => {
    const living = await log.quota.lookAt(
      planted.map(({ counter }) => counter),
      NOVEMBER_20,
    )
    return living.map(({ usedMicro }) => Number(usedMicro) / 1_000_000)
  }
  await expect.poll(used, PATIENCE).toEqual([30, 20, 10, 20])
  await keeper.stop()
})
