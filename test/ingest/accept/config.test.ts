import type { Pool } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type ConfigCache, createConfigCache } from '../../../ingest/accept/config.ts'
import { putEventType } from '../../../ingest/event-types/put-event-type.ts'
import { putLimit } from '../../../ingest/quota/put-limit.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { LLM_SCHEMA } from '../../support/metering.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase
let tenant: number
let nowMs: number
let loads: number
let away: boolean
/** Loads wait here until they are let go. */
let gate: Promise<void>
let config: ConfigCache

beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())
beforeEach(async () => {
  nowMs = 1_000_000
  loads = 0
  away = false
  gate = Promise.resolve()
  tenant = await database.createTenant(`t-${Math.random().toString(36).slice(2)}`)
  config = createConfigCache({ pool: watchedPool(), now: () => nowMs, defaultPlan: 'basic' })
})

/** The real pool, counted, and able to be away or slow. A slow one reads first and answers later. */
function watchedPool(): Pool {
  return new Proxy(database.pool, {
    get: (pool, name) => {
      if (name !== 'connect') return Reflect.get(pool, name)
      return async () => {
        loads++
        if (away) throw Object.assign(new Error('no'), { code: 'ECONNREFUSED' })
        const waitFor = gate
        const client = await pool.connect()
        return new Proxy(client, {
          get: (target, member) => {
            if (member !== 'query') return Reflect.get(target, member)
            return async (text: string, values: unknown[]) => {
              const answer = await target.query(text, values)
              if (text === 'COMMIT') await waitFor
              return answer
            }
          },
        })
      }
    },
  })
}

const storeMeter = (slug: string, aggregation: string, archivedAt = 'NULL', windowSize = 'NULL') =>
  withTenant(database.pool, tenant, (tx) =>
    tx.query(
      `INSERT INTO meters (tenant_id, slug, event_type, aggregation, value_path, group_by, revision, updated_at,
         archived_at, window_size)
       VALUES (app_tenant(), $1, 'llm.request', $2, '{}', '[]', 1, now(), ${archivedAt}, ${windowSize})`,
      [slug, aggregation],
    ),
  )
const storeVersion = (slug: string, change: { version: number; value: string | null; from?: string; type?: string }) =>
  withTenant(database.pool, tenant, (tx) =>
    tx.query(
      `INSERT INTO meter_versions (tenant_id, slug, version, effective_from, event_type, value, revision, created_at)
       VALUES (app_tenant(), $1, $2, $3::timestamptz, $4, $5, $2, now())`,
      [slug, change.version, `${change.from ?? '1970-01-01'}T00:00:00Z`, change.type ?? 'llm.request', change.value],
    ),
  )
const register = (type: string) => putEventType({ pool: database.pool, now: () => 0 }, tenant, type, LLM_SCHEMA)
const typesOf = async () => [...(await config.get(tenant)).types.keys()]

function newGate(): () => void {
  let open = () => {}
  gate = new Promise((done) => {
    open = done
  })
  return open
}

describe('what the edge knows of a tenant', () => {
  test('types, meters and limits, the limit rounded down to micro-units', async () => {
    await register('llm.request')
    await storeMeter('tokens', 'sum')
    await storeVersion('tokens', { version: 1, value: 'tokens' })
    const limit = { subject: 's', meter: 'tokens', limit: '1.0000019', window: 'day' } as const
    await putLimit({ pool: database.pool, now: () => 0 }, tenant, limit)
    const known = await config.get(tenant)
    expect([...known.types.keys()]).toEqual(['llm.request'])
    expect(known.metersOfType.get('llm.request')).toEqual([
      { slug: 'tokens', eventType: 'llm.request', aggregation: 'sum', valuePath: ['tokens'] },
    ])
    expect(known.limitsOf('s')).toMatchObject([
      {
        feature: 'tokens',
        grantedBy: 'subject',
        meter: 'tokens',
        window: 'day',
        limitMicro: 1_000_001n,
        whenAway: 'closed',
      },
    ])
    expect(known.limitsOf('another')).toEqual([])
  })

  test('every version of a meter under its event type, with its times; archived meters are gone', async () => {
    await storeMeter('cost', 'sum')
    await storeVersion('cost', { version: 1, value: 'cost' })
    await storeVersion('cost', { version: 2, value: 'a + b', from: '2026-12-01', type: 'other' })
    await storeMeter('old', 'count', 'now()')
    await storeVersion('old', { version: 1, value: null })
    const { metersOfType } = await config.get(tenant)
    const changedMs = Date.UTC(2026, 11, 1)
    expect(metersOfType.get('llm.request')).toEqual([
      {
        ...{ slug: 'cost', eventType: 'llm.request', aggregation: 'sum', valuePath: ['cost'] },
        times: { fromMs: 0, untilMs: changedMs },
      },
    ])
    expect(metersOfType.get('other')).toMatchObject([
      { slug: 'cost', valuePath: [], times: { fromMs: changedMs, untilMs: Number.POSITIVE_INFINITY } },
    ])
    expect(metersOfType.size).toBe(2)
  })

  test('only what adds up event by event can be limited', async () => {
    const limit = (meter: string) =>
      putLimit({ pool: database.pool, now: () => 0 }, tenant, { subject: 's', meter, limit: '1', window: 'day' })
    await storeMeter('peak', 'max')
    await storeMeter('old', 'count', 'now()')
    await storeMeter('hourly', 'sum', 'NULL', "'hour'")
    const refused = { code: 'invalid_request', message: expect.stringContaining('has no limit') }
    await expect(limit('peak')).rejects.toMatchObject(refused)
    await expect(limit('hourly')).rejects.toMatchObject(refused)
    await expect(limit('old')).rejects.toMatchObject({ code: 'not_found' })
  })

  test('nothing of another tenant (EPIC-5)', async () => {
    await register('mine')
    const other = await database.createTenant(`o-${Math.random().toString(36).slice(2)}`)
    expect((await config.get(other)).types.size).toBe(0)
    expect(await typesOf()).toEqual(['mine'])
  })
})

describe('how fresh it is', () => {
  test('it is read once in ten seconds', async () => {
    await config.get(tenant)
    await register('later')
    nowMs += 8_000
    expect(await typesOf()).toEqual([])
    expect(loads).toBe(1)
    nowMs += 2_001
    expect(await typesOf()).toEqual(['later'])
    expect(loads).toBe(2)
  })

  test('while requests come it is read again before it is too old, and nobody waits for that', async () => {
    await config.get(tenant)
    await register('later')
    nowMs += 8_001
    const open = newGate()
    expect([await typesOf(), await typesOf(), loads]).toEqual([[], [], 2])
    open()
    await expect.poll(typesOf).toEqual(['later'])
    expect(loads).toBe(2)
  })

  test('a change that is announced shows at the next request, for that tenant or for all', async () => {
    const other = await database.createTenant(`o-${Math.random().toString(36).slice(2)}`)
    for (const forget of [() => config.invalidate(tenant), () => config.invalidate()]) {
      await config.get(tenant)
      await config.get(other)
      loads = 0
      forget()
      await config.get(tenant)
      await config.get(tenant)
      expect(loads).toBe(1)
    }
    loads = 0
    await config.get(other)
    expect(loads).toBe(1)
  })

  test('asked for something younger, it reads again', async () => {
    await config.get(tenant)
    nowMs += 5
    await config.atLeast(tenant, nowMs - 5)
    expect(loads).toBe(1)
    await config.atLeast(tenant, nowMs)
    expect(loads).toBe(2)
  })
})

describe('many requests at once', () => {
  test('share one read', async () => {
    await Promise.all(Array.from({ length: 50 }, () => config.get(tenant)))
    expect(loads).toBe(1)
  })

  test('after a change: all of them wait for what is new, not only the first', async () => {
    await config.get(tenant)
    await register('new')
    config.invalidate(tenant)
    loads = 0
    const seen = await Promise.all(Array.from({ length: 5 }, () => typesOf()))
    expect(seen).toEqual(Array.from({ length: 5 }, () => ['new']))
    expect(loads).toBe(1)
  })

  test('do not share one that began before the change they were told of', async () => {
    const open = newGate()
    const before = config.get(tenant)
    await register('new')
    config.invalidate(tenant)
    gate = Promise.resolve()
    expect(await typesOf()).toEqual(['new'])
    open()
    await before
    expect(await typesOf()).toEqual(['new'])
  })

  test('do not share one that began before the time they ask for', async () => {
    const open = newGate()
    const before = config.get(tenant)
    await register('new')
    nowMs += 1
    gate = Promise.resolve()
    expect([...(await config.atLeast(tenant, nowMs)).types.keys()]).toEqual(['new'])
    open()
    await before
    expect(await typesOf()).toEqual(['new'])
  })
})

describe('Postgres away', () => {
  test('it goes on with what it has, and asks again at the next request', async () => {
    await register('known')
    await typesOf()
    away = true
    nowMs += 60_000
    expect(await typesOf()).toEqual(['known'])
    config.invalidate(tenant)
    expect(await typesOf()).toEqual(['known'])
    expect(loads).toBe(3)
    away = false
    await register('new')
    expect(await typesOf()).toEqual(['known', 'new'])
  })

  test('of a tenant it never saw it knows nothing: 503', async () => {
    away = true
    await expect(config.get(tenant)).rejects.toMatchObject({ code: 'unavailable' })
    away = false
    expect(await typesOf()).toEqual([])
  })
})
