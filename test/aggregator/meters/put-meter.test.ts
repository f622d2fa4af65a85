import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { archiveMeter } from '../../../aggregator/meters/archive-meter.ts'
import type { MeterInput } from '../../../aggregator/meters/meter.ts'
import { type MeterDeps, putMeter, syncMeters } from '../../../aggregator/meters/put-meter.ts'
import { rebuildProgress } from '../../../aggregator/meters/rebuild-progress.ts'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import { queryUsage } from '../../../aggregator/usage/query-usage.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
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
    `SELECT meter, version, revision, aggregation, value_json, filter_json, group_paths FROM meter_versions FINAL
     WHERE tenant = {tenant:UInt32} ORDER BY revision`,
    { tenant: owner },
  )

async function tokensUsed(meter = 'tokens'): Promise<string> {
  const range = { fromMs: Date.UTC(2026, 10, 1), toMs: Date.UTC(2026, 11, 1), groupBy: [], timezone: 'UTC' }
  return (await queryUsage(deps, { tenantId: tenant, scope: 'everything' }, { meter, ...range })).total.quantity
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
      {
        ...{ meter: 'tokens', version: 1, revision: 1, aggregation: 'sum', value_json: '[[["1",[["tokens"]]]],[]]' },
        ...{ filter_json: '[]', group_paths: [['model']] },
      },
      {
        ...{ meter: 'requests', version: 1, revision: 2, aggregation: 'count', value_json: '[[],[]]' },
        ...{ filter_json: '[]', group_paths: [] },
      },
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
    expect(await copies()).toMatchObject([{ meter: 'tokens' }, { meter: 'requests' }])
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

describe('another version of a meter', () => {
  const DECEMBER = '2026-12-01T00:00:30Z'
  const large = { equals: { path: 'model', value: 'large' } }
  const next = { ...TOKENS, value: '2 * tokens', filter: large, effective_from: DECEMBER }

  test('counts events from its minute on; those before count as before', async () => {
    await put('tokens', TOKENS)
    const meter = await put('tokens', next)
    expect(meter).toMatchObject({ revision: 2, value: '2 * tokens' })
    expect(meter.versions.map(({ version, effectiveFromMs }) => [version, effectiveFromMs])).toEqual([
      [1, 0],
      [2, Date.UTC(2026, 11, 1)],
    ])
    expect(await copies()).toMatchObject([
      { version: 1, value_json: '[[["1",[["tokens"]]]],[]]', filter_json: '[]' },
      { version: 2, value_json: '[[["2",[["tokens"]]]],[]]', filter_json: '[[[["model"],"in",["large"],0]]]' },
    ])
    const send = (id: string, timeMs: number, model: string) =>
      insertRecords(store, `log-${id}-${made}`, [
        logRow([usageEvent(id, { tenant, timeMs, data: { tokens: 5, model } })]),
      ])
    const changedMs = Date.UTC(2026, 11, 1)
    await send('a', changedMs - 1, 'small')
    await send('b', changedMs, 'small')
    await send('c', changedMs, 'large')
    const range = { fromMs: Date.UTC(2026, 10, 1), toMs: Date.UTC(2027, 0, 1), groupBy: [], timezone: 'UTC' }
    const used = async () =>
      (await queryUsage(deps, { tenantId: tenant, scope: 'everything' }, { meter: 'tokens', ...range })).total
    expect(await used()).toEqual({ quantity: '15', events: 2 })
    await rebuild()
    expect(await used()).toEqual({ quantity: '15', events: 2 })
  })

  test('the same again answers it; from another time on it is a conflict', async () => {
    await put('tokens', TOKENS)
    await put('tokens', next)
    expect(await put('tokens', next)).toMatchObject({ revision: 2 })
    expect(await put('tokens', { ...TOKENS, value: 'tokens * 2', filter: large })).toMatchObject({ revision: 2 })
    await expect(put('tokens', { ...next, effective_from: '2027-01-01T00:00:00Z' })).rejects.toMatchObject({
      code: 'conflict',
    })
    expect(await copies()).toHaveLength(2)
  })

  test('needs a time that is not past, after that of the version before: what was billed stays what it was', async () => {
    await put('tokens', TOKENS)
    const at = (effective_from: string, value = 'other') => put('tokens', { ...TOKENS, value, effective_from })
    const refused = { code: 'invalid_request', options: { errors: [{ path: 'effective_from' }] } }
    await expect(at('2026-11-20T11:59:59Z')).rejects.toMatchObject(refused)
    await expect(at('tomorrow')).rejects.toMatchObject(refused)
    await expect(put('new', { ...TOKENS, effective_from: DECEMBER })).rejects.toMatchObject(refused)
    expect(await at(DECEMBER)).toMatchObject({ revision: 2 })
    await expect(at(DECEMBER, 'third')).rejects.toMatchObject(refused)
    // The running minute has not been billed yet.
    await put('requests', REQUESTS)
    const now = { ...REQUESTS, event_type: 'x', effective_from: new Date(NOVEMBER_20 + 30_000).toISOString() }
    expect((await put('requests', now)).versions.at(-1)?.effectiveFromMs).toBe(NOVEMBER_20)
  })

  test('what all versions share never changes, and the answer says what', async () => {
    await put('tokens', TOKENS)
    for (const [change, member] of [
      [{ aggregation: 'max' }, 'aggregation'],
      [{ group_by: [] }, 'group_by'],
      [{ window: 'day' }, 'window'],
    ] as const) {
      await expect(put('tokens', { ...next, ...change } as MeterInput)).rejects.toMatchObject({
        code: 'conflict',
        message: expect.stringContaining(`${member} is the same in all its versions`),
      })
    }
    expect(await copies()).toHaveLength(1)
  })

  test('a crash before its copy is mended, in the order of revisions', async () => {
    await put('tokens', TOKENS)
    await putAndCrash('tokens', next)
    expect(await copies()).toHaveLength(1)
    await syncMeters(deps)
    expect(await copies()).toMatchObject([{ version: 1 }, { version: 2 }])
  })
})

describe('an archived meter', () => {
  const archive = (slug: string) => archiveMeter(deps, tenant, slug)

  test('answers no usage until the same definition brings it back', async () => {
    await put('tokens', TOKENS)
    await archive('tokens')
    await expect(tokensUsed()).rejects.toMatchObject({ code: 'not_found' })
    await expect(archive('tokens')).rejects.toMatchObject({ code: 'not_found' })
    await expect(put('tokens', { ...TOKENS, value: 'other' })).rejects.toMatchObject({ code: 'conflict' })
    expect(await put('tokens', TOKENS)).toMatchObject({ revision: 1, archived: false })
    expect(await tokensUsed()).toBe('0')
  })

  test('is none that a limit or a plan names', async () => {
    await put('limited', REQUESTS)
    await put('priced', REQUESTS)
    await withTenant(database.pool, tenant, async (tx) => {
      await tx.query("INSERT INTO quota_limits VALUES (app_tenant(), 'customer-1', 'limited', 5, 'day', now())")
      const plan = await tx.query<{ id: string }>(
        `INSERT INTO plans (tenant_id, id, key, name, currency, period_interval, alignment, grace_seconds, created_at)
         VALUES (app_tenant(), gen_random_uuid(), 'pro', 'Pro', 'USD', 'month', 'calendar', 0, now()) RETURNING id`,
      )
      await tx.query(
        `INSERT INTO plan_charges (tenant_id, plan_id, position, key, name, meter, price)
         VALUES (app_tenant(), $1, 0, 'usage', 'Usage', 'priced', '{"model":"per_unit"}')`,
        [plan.rows[0]?.id],
      )
    })
    for (const [slug, user] of [
      ['limited', 'the quota limit of customer-1'],
      ['priced', 'the plan pro'],
    ] as const)
      await expect(archive(slug)).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining(user) })
  })
})

test('progress: shards not yet built with a meter, while there are some', async () => {
  await insertRecords(store, `log-${made}`, [logRow([usageEvent('a', { tenant, data: { tokens: 5 } })])])
  const meter = await put('tokens', TOKENS)
  expect(await rebuildProgress(deps, tenant, meter)).toEqual({ shards: 1, built: 0 })
  await rebuild()
  expect(await rebuildProgress(deps, tenant, meter)).toBeUndefined()
  const changed = await put('tokens', { ...TOKENS, value: 'other', effective_from: '2026-12-01T00:00:00Z' })
  expect(await rebuildProgress(deps, tenant, changed)).toEqual({ shards: 1, built: 0 })
})
