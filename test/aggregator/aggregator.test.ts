import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { v7 } from 'uuid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Aggregator, buildAggregator } from '../../aggregator/aggregator.ts'
import { insertDeadLetter } from '../../aggregator/pump/insert.clickhouse.ts'
import { buildHost } from '../../ops/host/server.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { App, Caller } from '../../schemas/http/door.ts'
import { PERMISSIONS } from '../../schemas/http/permissions.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { type EmbeddedLog, openEmbeddedLog, openUsageStore, PARTITIONS } from '../support/embedded-stores.ts'
import { logRow, NOVEMBER_20, recordsOf, usageEvent } from '../support/log-events.ts'
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts'

const METER = { event_type: 'llm.request', aggregation: 'sum', value: '$.tokens', group_by: ['model'] }
let database: TestDatabase
let store: ClickHouseStore
let log: EmbeddedLog
let app: App
let aggregator: Aggregator
let tenant: number
/** Added to the real clock. */
let aheadMs = 0

beforeAll(async () => {
  const now = () => Date.now() + aheadMs
  ;[database, store, log] = await Promise.all([createTestDatabase(), openUsageStore(), openEmbeddedLog(now)])
  tenant = await database.createTenant('acme')
  const other = await database.createTenant('other')
  const caller = (tenantId: number, operator: boolean): Caller => ({
    ...{ tenantId, tenantSlug: 'acme', keyId: 'k', operator, permissions: new Set(PERMISSIONS) },
    scope: 'everything',
  })
  const callers: Record<string, Caller> = {
    tenant: caller(tenant, false),
    operator: caller(tenant, true),
    other: caller(other, false),
    reader: { ...caller(tenant, false), permissions: new Set(['billing:meters:read']) },
  }
  const logger = pino({ level: 'silent' })
  const authenticate = async (key: string | undefined) => callers[key ?? '']
  const metrics = new Registry()
  app = await buildHost({ logger, metrics, authenticate, version: '0' })
  const { pool } = database
  const random20 = () => 1
  aggregator = buildAggregator({ app, pool, store, reads: store, reader: log.reader, logger, metrics, now, random20 })
  await app.ready()
})
afterAll(async () => {
  await app.close()
  await aggregator.stop()
  await store.close()
  await log.close()
  await database.drop()
})

async function call(method: 'GET' | 'PUT', url: string, payload?: object, key = 'tenant') {
  const headers = { authorization: key }
  const answer = await app.inject({ method, url: `/api/v1${url}`, headers, ...(payload ? { payload } : {}) })
  return { status: answer.statusCode, body: answer.json() as Record<string, unknown> }
}

describe('the doors of meters', () => {
  const stored = { slug: 'tokens', event_type: 'llm.request', aggregation: 'sum', value: 'tokens', group_by: ['model'] }

  test('put, read, list', async () => {
    expect(await call('PUT', '/meters/tokens', METER)).toEqual({ status: 200, body: { ...stored, revision: 1 } })
    expect(await call('PUT', '/meters/tokens', METER)).toMatchObject({ status: 200, body: { revision: 1 } })
    const count = { event_type: 'llm.request', aggregation: 'count' }
    expect((await call('PUT', '/meters/requests', count)).body).toEqual({
      ...{ slug: 'requests', event_type: 'llm.request', aggregation: 'count', group_by: [], revision: 2 },
    })
    expect(await call('GET', '/meters/tokens')).toEqual({ status: 200, body: { ...stored, revision: 1 } })
    expect((await call('GET', '/meters')).body.meters).toMatchObject([{ slug: 'requests' }, { slug: 'tokens' }])
  })

  test('another definition is 409; another tenant’s is 404 (EPIC-5)', async () => {
    expect(await call('PUT', '/meters/tokens', { ...METER, value: 'other' })).toMatchObject({
      status: 409,
      body: { code: 'conflict' },
    })
    expect((await call('GET', '/meters/tokens', undefined, 'other')).status).toBe(404)
    expect((await call('GET', '/meters', undefined, 'other')).body).toEqual({ meters: [] })
  })

  test.each([
    ['an unknown aggregation', { ...METER, aggregation: 'median' }, 'aggregation'],
    ['no event type', { ...METER, event_type: undefined }, 'event_type'],
    ['an unknown member', { ...METER, unit: 'x' }, 'unit'],
    ['a value that is no path', { ...METER, value: 'a b' }, 'value'],
    ['six dimensions', { ...METER, group_by: ['a', 'b', 'c', 'd', 'e', 'f'] }, 'group_by'],
  ])('%s is 400, naming it', async (_name, body, path) => {
    const answer = await call('PUT', '/meters/m', body)
    expect(answer.status).toBe(400)
    expect(answer.body.errors).toContainEqual(expect.objectContaining({ path }))
  })

  test('each has its permission', async () => {
    expect((await call('PUT', '/meters/m', METER, 'reader')).status).toBe(403)
    expect((await call('GET', '/meters', undefined, 'reader')).status).toBe(200)
  })
})

test('dead letters of unknown tenants are listed to operators, whole, newest first', async () => {
  const rows = [0, 1].map((offset) => ({
    ...logRow([], { offset, knownAtMs: NOVEMBER_20 + offset }),
    batch: Buffer.from('?!'),
  }))
  for (const row of rows) await insertDeadLetter(store, 'a-log', row, "it's no Avro")
  const dead = {
    ...{ log: 'a-log', partition: 0, offset: '1', known_at: '2026-11-20T12:00:00.001Z', reason: "it's no Avro" },
    bytes_base64: Buffer.from('?!').toString('base64'),
  }
  const { body } = await call('GET', '/dead-letters', undefined, 'operator')
  expect(body.dead_letters).toEqual([dead, { ...dead, offset: '0', known_at: '2026-11-20T12:00:00.000Z' }])
  expect((await call('GET', '/dead-letters?limit=1', undefined, 'operator')).body.dead_letters).toEqual([dead])
  expect((await call('GET', '/dead-letters')).body).toEqual({ dead_letters: [] })
})

describe('the running role', () => {
  test('is not ready before its start; then it stores, seals on request, and is ready by progress', async () => {
    expect((await aggregator.check()).ok).toBe(false)
    await aggregator.start()
    const event = usageEvent('a', { tenant, data: { tokens: 3 } })
    await log.writer.append(recordsOf([event], PARTITIONS))
    const sealId = v7()
    await withTenant(database.pool, tenant, (tx) =>
      tx.query('INSERT INTO seal_requests VALUES (app_tenant(), $1, $2, now())', [sealId, new Date(Date.now() + 1)]),
    )
    aggregator.configChanged('seal_requests', tenant)
    const sealed = async () =>
      (
        await withTenant(database.pool, tenant, (tx) =>
          tx.query<{ event_count: string }>('SELECT event_count FROM seals'),
        )
      ).rows
    while ((await sealed()).length === 0) await sleep(10)
    expect(await sealed()).toEqual([{ event_count: '1' }])
    const usage = await call('GET', '/usage?meter=tokens&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z')
    expect(usage.body.total).toEqual({ quantity: '3', events: 1 })
    expect((await aggregator.check()).ok).toBe(true)
  })

  test('without progress it is not ready, whatever port answers (invariant 8)', async () => {
    await aggregator.stop()
    aheadMs += 60_000
    expect(await aggregator.check()).toMatchObject({ ok: false, detail: expect.stringContaining('last progress') })
    expect((await call('GET', '/meters')).status).toBe(200)
  })
})
