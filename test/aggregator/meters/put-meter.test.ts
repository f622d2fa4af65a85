import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { copiedMeters } from '../../../aggregator/meters/meter.clickhouse.ts'
import type { MeterInput } from '../../../aggregator/meters/meter.ts'
import { type MeterDeps, putMeter, syncMeters } from '../../../aggregator/meters/put-meter.ts'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import { queryUsage } from '../../../aggregator/usage/query-usage.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

const TOKENS: MeterInput = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens', group_by: ['model'] }
const REQUESTS: MeterInput = { event_type: 'llm.request', aggregation: 'count' }

let database: TestDatabase
let store: ClickHouseStore
let tenant: number
let deps: MeterDeps
let made = 0

beforeAll(async () => {
  ;[database, store] = await Promise.all([createTestDatabase(), openUsageStore()])
})
afterAll(async () => {
  await store.close()
  await database.drop()
})
beforeEach(async () => {
  tenant = await database.createTenant(`t-${made++}`)
  deps = { pool: database.pool, store, now: () => NOVEMBER_20 }
})

const put = (slug: string, input: MeterInput, owner = tenant) => putMeter(deps, owner, slug, input)
/** As if the process were killed after Postgres and before ClickHouse. */
const putAndCrash = (slug: string, input: MeterInput) =>
  expect(
    putMeter({ ...deps, store: { ...store, command: () => Promise.reject(new Error('killed')) } }, tenant, slug, input),
  ).rejects.toThrow('killed')

const copies = (owner = tenant) =>
  store.query(
    `SELECT meter, revision, aggregation, value_path, group_paths FROM meters FINAL
     WHERE tenant = {tenant:UInt32} ORDER BY revision`,
    { tenant: owner },
  )

async function tokensUsed(meter = 'tokens'): Promise<string> {
  const range = { fromMs: Date.UTC(2026, 10, 1), toMs: Date.UTC(2026, 11, 1), groupBy: [], timezone: 'UTC' }
  return (await queryUsage(deps, tenant, { meter, ...range })).total.quantity
}

const rebuild = () =>
  rebuildTenant(
    { store, logger: pino({ level: 'silent' }), now: () => Date.now() + 3_600_000, random20: () => made++ },
    tenant,
  )

describe('putting a meter', () => {
  test('stores it, copies it, and numbers the tenant’s meters as they come', async () => {
    expect(await put('tokens', TOKENS)).toMatchObject({ slug: 'tokens', revision: 1, valuePath: ['tokens'] })
    expect((await put('requests', REQUESTS)).revision).toBe(2)
    expect(await copies()).toEqual([
      { meter: 'tokens', revision: 1, aggregation: 'sum', value_path: ['tokens'], group_paths: [['model']] },
      { meter: 'requests', revision: 2, aggregation: 'count', value_path: [], group_paths: [] },
    ])
  })

  test('again with the same meaning answers the stored one', async () => {
    await put('tokens', TOKENS)
    expect(await put('tokens', { ...TOKENS, value: '$.tokens' })).toMatchObject({ revision: 1 })
    expect(await copies()).toHaveLength(1)
  })

  test('with another definition is a conflict: what was billed with it must stay what it was', async () => {
    await put('tokens', TOKENS)
    for (const change of [{ value: 'other' }, { event_type: 'x' }, { group_by: [] }])
      await expect(put('tokens', { ...TOKENS, ...change })).rejects.toMatchObject({ code: 'conflict' })
    await expect(put('tokens', REQUESTS)).rejects.toMatchObject({ code: 'conflict' })
    expect(await copies()).toHaveLength(1)
  })

  test('many at once all get a revision of their own', async () => {
    const meters = await Promise.all(Array.from({ length: 6 }, (_, n) => put(`m-${n}`, REQUESTS)))
    expect(meters.map(({ revision }) => revision).sort()).toEqual([1, 2, 3, 4, 5, 6])
    expect(await copies()).toHaveLength(6)
  })

  test('tenants have their own (EPIC-5)', async () => {
    const other = await database.createTenant(`t-${made++}`)
    await put('tokens', TOKENS)
    expect(await put('tokens', REQUESTS, other)).toMatchObject({ revision: 1, aggregation: 'count' })
    expect(await copies(other)).toMatchObject([{ aggregation: 'count' }])
    expect(await copies()).toMatchObject([{ aggregation: 'sum' }])
  })
})

describe('a crash between Postgres and ClickHouse', () => {
  test('is mended by the same request again, and by the next start', async () => {
    await putAndCrash('tokens', TOKENS)
    expect(await copies()).toEqual([])
    await put('tokens', TOKENS)
    expect(await copies()).toHaveLength(1)
    await putAndCrash('requests', REQUESTS)
    await syncMeters(deps)
    await syncMeters(deps)
    expect(await copies()).toMatchObject([{ meter: 'tokens' }, { meter: 'requests' }])
  })

  test('never leaves a meter out of rollups: a later meter brings the copies of those before it (invariant 6)', async () => {
    await insertRecords(store, `log-${made}`, [logRow([usageEvent('a', { tenant, data: { tokens: 5 } })])])
    await putAndCrash('tokens', TOKENS)
    await put('requests', REQUESTS)
    expect(await copiedMeters(store, tenant)).toEqual(new Set(['tokens', 'requests']))
    expect(await rebuild()).toBe(1)
    await syncMeters(deps)
    expect([await tokensUsed(), await tokensUsed('requests')]).toEqual(['5', '1'])
  })

  test('copies appear in the order of their revisions, so that none is seen without those below it', async () => {
    const seen: unknown[] = []
    await putAndCrash('z-first', REQUESTS)
    await putAndCrash('a-second', REQUESTS)
    const watched: ClickHouseStore = {
      ...store,
      command: async (sql, params) => {
        seen.push(params?.revision)
        return store.command(sql, params)
      },
    }
    await putMeter({ ...deps, store: watched }, tenant, 'm-third', REQUESTS)
    expect(seen).toEqual([1, 2, 3])
  })
})

describe('a meter made after its events', () => {
  test('counts them, from raw events, from rollups made before it, and from those made after it', async () => {
    await insertRecords(store, `log-${made}`, [logRow([usageEvent('a', { tenant, data: { tokens: 5 } })])])
    await put('first', REQUESTS)
    expect(await rebuild()).toBe(1)
    await put('tokens', TOKENS)
    expect(await tokensUsed()).toBe('5')
    expect(await rebuild()).toBe(1)
    expect(await tokensUsed()).toBe('5')
    expect(await tokensUsed('first')).toBe('1')
  })
})
