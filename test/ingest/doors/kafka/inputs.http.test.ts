import type { Worker } from 'node:worker_threads'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { kafkaInputsDoor } from '../../../../ingest/doors/kafka/inputs.http.ts'
import { listActiveInputs } from '../../../../ingest/doors/kafka/inputs.postgres.ts'
import { buildHost } from '../../../../ops/host/server.ts'
import type { App, Caller } from '../../../../schemas/http/door.ts'
import { PERMISSIONS, type Permission } from '../../../../schemas/http/permissions.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'

let database: TestDatabase
let app: App
let withoutKafka: App
let caller: Caller
let changes = 0
let made = 0

async function hostWith(prefix: string | undefined): Promise<App> {
  const [logger, metrics] = [pino({ level: 'silent' }), new Registry()]
  const host = await buildHost({ logger, metrics, authenticate: async () => caller, version: '0' })
  kafkaInputsDoor(host, { pool: database.pool, prefix, changed: () => changes++, now: Date.now })
  await host.ready()
  return host
}
async function callerOf(slug: string, permissions: readonly Permission[] = PERMISSIONS): Promise<Caller> {
  const tenantId = await database.createTenant(slug)
  const key = { keyId: slug, operator: false, permissions: new Set(permissions), scope: 'everything' } as const
  return { tenantId, tenantSlug: slug, ...key }
}

beforeAll(async () => {
  database = await createTestDatabase()
  app = await hostWith('in.')
  withoutKafka = await hostWith(undefined)
})
afterAll(async () => {
  await app.close()
  await withoutKafka.close()
  await database.drop()
})
beforeEach(async () => {
  caller = await callerOf(`t-${made++}`)
  changes = 0
})

const call = async (method: 'GET' | 'PUT', url: string, payload?: object, host = app) => {
  const headers = { authorization: 'Bearer x' }
  const response = await host.inject({
    method,
    url: `/api/v1/kafka-inputs${url}`,
    headers,
    ...(payload ? { payload } : {}),
  })
  return { status: response.statusCode, body: response.json() as Record<string, unknown> }
}
const own = (name = 'usage') => `in.${caller.tenantSlug}.${name}`
const SCHEMA = { type: 'record', name: 'R', fields: [{ name: 'who', type: 'string' }] }
const mapping = { id: 7, schema: SCHEMA, type: 'llm.request', fields: { subject: 'who' } }

describe('PUT /api/v1/kafka-inputs/:topic', () => {
  test('registers a topic of the tenant’s own, again with something else, and tells whoever reads', async () => {
    const stored = { topic: own(), format: 'json', schemas: [], backfill: false, paused: false }
    expect(await call('PUT', `/${own()}`, { format: 'json' })).toEqual({ status: 200, body: stored })
    expect(await call('PUT', `/${own()}`, { format: 'json', paused: true })).toMatchObject({ status: 200 })
    expect(await call('GET', '')).toEqual({ status: 200, body: { kafka_inputs: [{ ...stored, paused: true }] } })
    expect(changes).toBe(2)
  })

  test('what is paused is not read; every change is another version', async () => {
    const active = async () => (await listActiveInputs(database.pool)).filter(({ topic }) => topic === own())
    await call('PUT', `/${own()}`, { format: 'avro', schemas: [mapping] })
    const [before] = await active()
    expect(before).toMatchObject({ tenantId: caller.tenantId, tenantSlug: caller.tenantSlug, schemas: [mapping] })
    await call('PUT', `/${own()}`, { format: 'avro', schemas: [mapping], paused: true })
    expect(await active()).toEqual([])
    await call('PUT', `/${own()}`, { format: 'avro', schemas: [mapping] })
    expect((await active())[0]?.version).not.toBe(before?.version)
  })

  test.each([
    ['another tenant’s topic', 'in.other.usage', { format: 'json' }, 400],
    ['the event log', 'tallyline-events-0123456789abcdef', { format: 'json' }, 400],
    ['an unknown format', undefined, { format: 'xml' }, 400],
    ['avro without schemas', undefined, { format: 'avro' }, 400],
    ['json with schemas', undefined, { format: 'json', schemas: [mapping] }, 400],
    ['an id twice', undefined, { format: 'avro', schemas: [mapping, mapping] }, 400],
    ['a schema that is none', undefined, { format: 'avro', schemas: [{ ...mapping, schema: { type: 'x' } }] }, 400],
    [
      'a schema without a named field',
      undefined,
      { format: 'avro', schemas: [{ ...mapping, fields: { subject: 'x' } }] },
      400,
    ],
  ])('refuses %s', async (_, topic, body, status) => {
    expect(await call('PUT', `/${topic ?? own()}`, body)).toMatchObject({ status })
    expect(await call('GET', '')).toMatchObject({ body: { kafka_inputs: [] } })
    expect(changes).toBe(0)
  })

  test('names the schema at fault', async () => {
    const schemas = [mapping, { ...mapping, id: 8, schema: 'string' }]
    expect(await call('PUT', `/${own()}`, { format: 'avro', schemas })).toMatchObject({
      body: { code: 'invalid_schema', errors: [{ path: 'schemas.1.schema' }] },
    })
  })

  test.each([2_000, 20_000])('refuses a schema of %i levels, and nothing breaks', async (levels) => {
    const schema = `${'{"type":"array","items":'.repeat(levels)}"int"${'}'.repeat(levels)}`
    const payload = `{"format":"avro","schemas":[{"id":1,"type":"t","fields":{"subject":"a"},"schema":${schema}}]}`
    const headers = { authorization: 'Bearer x', 'content-type': 'application/json' }
    const response = await app.inject({ method: 'PUT', url: `/api/v1/kafka-inputs/${own()}`, headers, payload })
    expect(response.statusCode).toBe(400)
  })

  test('starts no more than two threads to read schemas, however many ask', async () => {
    let alive = 0
    let most = 0
    const count = (worker: Worker) => {
      most = Math.max(most, ++alive)
      worker.on('exit', () => alive--)
    }
    process.on('worker', count)
    onTestFinished(() => void process.off('worker', count))
    const answers = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((n) => call('PUT', `/${own(`n${n}`)}`, { format: 'avro', schemas: [mapping] })),
    )
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200])
    expect(most).toBe(2)
  })

  test('lets no key give a leave that it does not have', async () => {
    caller = { ...caller, permissions: new Set<Permission>(['billing:kafka-inputs:create']) }
    expect(await call('PUT', `/${own()}`, { format: 'json', backfill: true })).toMatchObject({ status: 403 })
    expect(await call('PUT', `/${own()}`, { format: 'json' })).toMatchObject({ status: 200 })
    expect(await call('GET', `/${own()}/rejections`)).toMatchObject({ status: 403 })
  })

  test('takes sixteen of a tenant, and changes of them', async () => {
    for (let n = 0; n < 16; n++)
      expect(await call('PUT', `/${own(`n${n}`)}`, { format: 'json' })).toMatchObject({ status: 200 })
    expect(await call('PUT', `/${own('n16')}`, { format: 'json' })).toMatchObject({ status: 409 })
    expect(await call('PUT', `/${own('n3')}`, { format: 'json', paused: true })).toMatchObject({ status: 200 })
  })

  test('says what is missing where there is no Kafka', async () => {
    const answer = await call('PUT', `/${own()}`, { format: 'json' }, withoutKafka)
    expect(answer).toMatchObject({
      status: 409,
      body: { code: 'illegal_state', detail: expect.stringContaining('KAFKA_BROKERS') },
    })
  })
})

test('a tenant sees its own inputs alone (invariant 7)', async () => {
  const topic = own()
  await call('PUT', `/${topic}`, { format: 'json' })
  expect(await call('GET', `/${topic}/rejections`)).toEqual({ status: 200, body: { rejections: [], next: null } })
  expect(await call('GET', `/${topic}/rejections?cursor=x`)).toMatchObject({ status: 400 })
  caller = await callerOf(`t-${made++}`)
  expect(await call('GET', '')).toEqual({ status: 200, body: { kafka_inputs: [] } })
  expect(await call('GET', `/${topic}/rejections`)).toMatchObject({ status: 404 })
})
