import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { storeEventType } from '../../../../ingest/event-types/event-type.postgres.ts'
import { decodeBatch } from '../../../../schemas/event/usage-batch.avro.ts'
import { withTenant } from '../../../../schemas/postgres/tenant.postgres.ts'
import { type Json, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../../support/metering.ts'

const SINGLE = 'application/cloudevents+json'
const BATCH = 'application/cloudevents-batch+json'
let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`t-${made++}`)
})

const event = (change: Json = {}) => ({
  specversion: '1.0',
  id: randomUUID(),
  source: 'my-app',
  type: 'ingest',
  subject: 'customer-1',
  time: '2026-11-20T11:00:00Z',
  data: { duration_ms: '100' },
  ...change,
})
async function ingest(body: unknown, contentType = 'application/json') {
  const response = await metering.app.inject({
    method: 'POST',
    url: '/openmeter/api/v1/events',
    headers: { authorization: `Bearer t-${made - 1}`, 'content-type': contentType },
    payload: JSON.stringify(body),
  })
  return { status: response.statusCode, body: response.body === '' ? '' : response.json<Json>() }
}
async function logged() {
  const rows = await metering.log.reader.read([0, 0, 0], 1e9)
  return rows.flatMap(({ batch }) => decodeBatch(batch)).filter((one) => one.tenant === tenant.id)
}
const setOpenTypes = (open: boolean) => tenant.call('PUT', '/settings', { openmeter_open_types: open })

/** Issue 5: emitters of OpenMeter work unchanged behind the prefix. After its e2e tests of ingest. */
describe('ingest', () => {
  test.each([
    ['a single event', SINGLE, event(), 1],
    ['a batch', BATCH, [event(), event()], 2],
    ['a single event as application/json', 'application/json', event(), 1],
    ['an array as application/json', 'application/json', [event(), event(), event()], 3],
  ])('%s is 204 without a body, and in the log', async (_name, type, body, count) => {
    expect(await ingest(body, type)).toEqual({ status: 204, body: '' })
    expect(await logged()).toHaveLength(count)
  })

  test('null data, no data and empty data are taken, as an object without properties', async () => {
    for (const data of [null, undefined, {}]) expect((await ingest(event({ data }), SINGLE)).status).toBe(204)
    expect((await logged()).map(({ data }) => data)).toEqual(['{}', '{}', '{}'])
  })

  test.each([
    ['data of another content type', { datacontenttype: 'application/xml', data: '<xml></xml>' }],
    ['data that is a string', { data: 'string' }],
    ['no subject', { subject: undefined }],
    ['another version', { specversion: '0.3' }],
    ['a reserved type', { type: 'tallyline.void' }],
  ])('%s is 400 and not in the log', async (_name, change) => {
    expect(await ingest(event(change), SINGLE)).toMatchObject({ status: 400, body: { code: 'events_refused' } })
    expect(await logged()).toEqual([])
  })

  test('a batch with a refused event is 400 and names it; the others are stored, and sending all again is safe', async () => {
    const bad = event({ data: [] })
    const batch = [event(), bad, event()]
    for (const _ of [1, 2]) {
      expect(await ingest(batch, BATCH)).toMatchObject({
        status: 400,
        body: { outcomes: [{ index: 1, id: bad.id, code: 'invalid_value', path: 'data' }] },
      })
    }
    expect(new Set((await logged()).map(({ id }) => id))).toEqual(new Set([batch[0]?.id, batch[2]?.id]))
    expect((await ingest([batch[0], batch[0]], BATCH)).status).toBe(204)
  })

  test('what a meter cannot count is 400 with the place: we do not store it with an error', async () => {
    await tenant.call('PUT', '/meters/ms', { event_type: 'ingest', aggregation: 'sum', value: 'duration_ms' })
    for (const duration_ms of ['NaN', 'Inf', -1]) {
      expect(await ingest(event({ data: { duration_ms } }), SINGLE)).toMatchObject({
        status: 400,
        body: { outcomes: [{ code: 'invalid_quantity', path: 'data.duration_ms' }] },
      })
    }
    expect(await logged()).toEqual([])
  })
})

describe('event types', () => {
  test('that nobody registered are open on this door alone', async () => {
    expect((await ingest(event({ data: { any: { thing: [1, null] } } }))).status).toBe(204)
    expect(await tenant.send(JSON.stringify(event()))).toMatchObject({
      status: 400,
      body: { outcomes: [{ code: 'unknown_type' }] },
    })
    expect((await tenant.call('GET', '/event-types')).body).toEqual({ event_types: [] })
  })

  test('that are registered keep their schema here', async () => {
    await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
    const refused = await ingest(event({ type: 'llm.request' }))
    expect(refused).toMatchObject({ status: 400, body: { outcomes: [{ code: 'missing_field', path: 'data.tokens' }] } })
    expect((await ingest(event({ type: 'llm.request', data: { tokens: 1 } }))).status).toBe(204)
  })

  /** ops/decisions/0011: for up to 10 s this process went on taking it as open, if Postgres' word of it was lost. */
  test('that were registered through another process are not open here, though nobody told this one', async () => {
    expect((await ingest(event())).status).toBe(204)
    const stored = { type: 'ingest', version: 0, schema: LLM_SCHEMA, unknown_fields: 'refuse' } as const
    await withTenant(metering.database.pool, tenant.id, (tx) => storeEventType(tx, stored, new Date()))
    const refused = await ingest(event())
    expect(refused).toMatchObject({ status: 400, body: { outcomes: [{ code: 'missing_field', path: 'data.tokens' }] } })
    expect(await logged()).toHaveLength(1)
  })

  test('are closed when the tenant says so, and for no other tenant', async () => {
    expect((await tenant.call('GET', '/settings')).body).toEqual({ openmeter_open_types: true })
    expect(await setOpenTypes(false)).toMatchObject({ status: 200, body: { openmeter_open_types: false } })
    expect(await ingest(event())).toMatchObject({ status: 400, body: { outcomes: [{ code: 'unknown_type' }] } })
    const closed = tenant
    tenant = await metering.tenant(`t-${made++}`)
    expect((await ingest(event())).status).toBe(204)
    await closed.call('PUT', '/settings', { openmeter_open_types: true })
    expect((await closed.call('GET', '/settings')).body).toEqual({ openmeter_open_types: true })
  })
})
