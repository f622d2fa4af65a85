import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { counterKey } from '../../../../ingest/quota/quota-request.ts'
import { createRedisQuotaStore, openRedis, redisReady } from '../../../../ingest/quota/quota-store.redis.ts'
import type { CounterKey, QuotaStore } from '../../../../ingest/quota/quota-store.ts'
import { createReconciler } from '../../../../ingest/quota/reconcile/reconciler.ts'
import type { ClickHouseStore } from '../../../../schemas/clickhouse/store.ts'
import { type RedisServer, startRedis } from '../../../contract/quota-store.redis-server.ts'
import { openUsageStore } from '../../../support/embedded-stores.ts'
import { NOVEMBER_20 } from '../../../support/log-events.ts'
import { describePlantedCounters } from './planted-counters.ts'

async function openStore(url: string): Promise<QuotaStore> {
  const client = openRedis(url)
  await redisReady(client, url)
  return createRedisQuotaStore(client, pino({ level: 'silent' }))
}

let usage: ClickHouseStore
beforeAll(async () => {
  usage = await openUsageStore()
})
afterAll(() => usage?.close())

describe.each([false, true])('on Redis (cluster: %s)', (cluster) => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis({ cluster })
  })
  afterAll(() => server?.close())

  describePlantedCounters(
    'redis',
    () => usage,
    async () => {
      await server.admin.flushall()
      const quota = await openStore(server.url)
      return {
        quota,
        plant: async (counter, micro) => void (await server.admin.set(counterKey(counter), String(micro))),
        flush: async () => void (await server.admin.flushall()),
        close: quota.close,
      }
    },
  )
})

describe('a counter that holds no number', () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server?.close())

  test.each(['-5', '1e3', '007', 'x', ''])(
    '"%s": draws on it fail until it is set to what usage says',
    async (text) => {
      await server.admin.flushall()
      const quota = await openStore(server.url)
      const window = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
      const counter: CounterKey = { tenant: 7, subject: 'alice', meter: 'calls', ...window }
      await server.admin.set(counterKey(counter), text)
      const draws = [{ counter, micro: 3n, limitMicro: 10n }]
      const draw = () => quota.draw([{ identity: '7\ntest\na', draws }], NOVEMBER_20, true)
      await expect(draw()).rejects.toMatchObject({ code: 'unavailable' })
      const reconciler = createReconciler(
        {
          ...{ quota, usage, writer: { logId: 'log', ends: async () => [] }, now: () => NOVEMBER_20 },
          subjectsOf: async () => new Map(),
          failed: (error) => expect.unreachable(String(error)),
        },
        { settleMs: 0, waitMs: 0, standsMs: 0 },
      )
      const damaged = { counter, usedMicro: undefined, usageMicro: 0n, driftMicro: 0n }
      const told = (state: string) => new Map([[7, [expect.objectContaining({ ...damaged, state })]]])
      expect((await reconciler.pass(false)).differences).toEqual(told('stands'))
      expect((await reconciler.pass(true)).differences).toEqual(told('corrected'))
      expect(await draw()).toMatchObject({ decisions: [{ taken: true, remainingMicro: 7n }] })
      expect(await server.admin.ttl(counterKey(counter))).toBeGreaterThan(86_000)
      expect((await reconciler.pass(true)).differences).not.toEqual(told('corrected'))
      await quota.close()
    },
  )
})

test('all masters of a cluster are asked for their counters', async () => {
  const servers = [await startRedis({ cluster: true }), await startRedis({ cluster: true })] as const
  const [{ admin: one, port }, { admin: other, port: otherPort }] = servers
  await other.cluster('FLUSHSLOTS')
  await one.call('CLUSTER', 'DELSLOTSRANGE', '8192', '16383')
  await other.call('CLUSTER', 'ADDSLOTSRANGE', '8192', '16383')
  // Of two that claim the same slots the one with the greater epoch has them.
  await other.call('CLUSTER', 'SET-CONFIG-EPOCH', '7')
  await one.call('CLUSTER', 'MEET', '127.0.0.1', String(otherPort), String(await busPortOf(other)))
  for (const admin of [one, other]) {
    const slots = async () => ((await admin.call('CLUSTER', 'SLOTS')) as unknown[]).length
    await expect.poll(slots, { timeout: 30_000 }).toBe(2)
    await expect.poll(() => admin.cluster('INFO'), { timeout: 30_000 }).toContain('cluster_state:ok')
  }
  const quota = await openStore(`redis+cluster://127.0.0.1:${port}`)
  const window = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
  const tenants = Array.from({ length: 40 }, (_, n) => n + 1)
  const counterOf = (tenant: number): CounterKey => ({ tenant, subject: 'alice', meter: 'calls', ...window })
  for (const tenant of tenants) await quota.load([{ counter: counterOf(tenant), usedMicro: BigInt(tenant) }], 0)
  expect(await one.dbsize()).toBeGreaterThan(5)
  expect(await other.dbsize()).toBeGreaterThan(5)
  const listed = new Map<number, bigint | undefined>()
  for await (const page of quota.livingCounters(0))
    for (const { counter, usedMicro } of page) listed.set(counter.tenant, usedMicro)
  expect([...listed].sort(([a], [b]) => a - b)).toEqual(tenants.map((tenant) => [tenant, BigInt(tenant)]))
  for (const tenant of tenants) expect(await quota.correct(counterOf(tenant), BigInt(tenant), 0n, 0)).toBe(true)
  expect(await quota.lookAt(tenants.map(counterOf), 0)).toHaveLength(tenants.length)
  await quota.close()
  for (const server of servers) await server.close()
})

async function busPortOf(admin: RedisServer['admin']): Promise<string | undefined> {
  return /@(\d+)/.exec(String(await admin.call('CLUSTER', 'NODES')))?.[1]
}
