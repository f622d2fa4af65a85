import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { decodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { type Json, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`t-${made++}`)
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
  await tenant.call('PUT', '/meters/cost', { event_type: 'llm.request', aggregation: 'sum', value: 'cost' })
  await tenant.call('PUT', '/meters/requests', { event_type: 'llm.request', aggregation: 'count' })
})

async function post(url: string, payload: object, headers: Record<string, string> = {}) {
  const authorization = `Bearer t-${made - 1}`
  const response = await metering.app.inject({ method: 'POST', url, headers: { authorization, ...headers }, payload })
  return { status: response.statusCode, body: response.json<Json>() }
}
const record = (body: object, headers?: Record<string, string>) => post('/api/v1/usage-records', body, headers)
const track = (body: object, headers?: Record<string, string>) => post('/usage/track', body, headers)

async function logged() {
  const rows = await metering.log.reader.read([0, 0, 0], 1e9)
  const events = rows.flatMap(({ batch }) => decodeBatch(batch)).filter((event) => event.tenant === tenant.id)
  return events.map(({ source, id, subject, timeMs, data }) => ({
    ...{ source, id, subject, timeMs },
    data: JSON.parse(data) as Json,
  }))
}
async function usage(meter: string): Promise<unknown> {
  await metering.settled()
  const range = 'from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z'
  return (await tenant.call('GET', `/usage?meter=${meter}&${range}`)).body.total
}

/** A customer with these subjects and a subscription, as the invoicer would store them. */
async function createCustomer(key: string, subjects: string[]): Promise<string> {
  const [customer, plan, subscription] = [randomUUID(), randomUUID(), randomUUID()]
  await withTenant(metering.database.pool, tenant.id, async (tx) => {
    await tx.query(
      `INSERT INTO customers (tenant_id, id, external_key, currency, timezone, created_at)
       VALUES (app_tenant(), $1, $2, 'EUR', 'UTC', now())`,
      [customer, key],
    )
    await tx.query(
      'INSERT INTO customer_subjects (tenant_id, subject, customer_id) SELECT app_tenant(), unnest($1::text[]), $2',
      [subjects, customer],
    )
    await tx.query(
      `INSERT INTO plans (tenant_id, id, key, name, currency, period_interval, alignment, grace_seconds, created_at)
       VALUES (app_tenant(), $1, $2, 'Plan', 'EUR', 'month', 'calendar', 0, now())`,
      [plan, key],
    )
    await tx.query(
      `INSERT INTO subscriptions (tenant_id, id, external_key, customer_id, plan_id, state, start_at, created_at)
       VALUES (app_tenant(), $1, $2, $3, $4, 'active', '2026-11-01', now())`,
      [subscription, `${key}-subscription`, customer, plan],
    )
  })
  return subscription
}

/** TCP-2: POST /api/v1/usage-records is a door onto the same accept. */
describe('a usage record', () => {
  test('on a meter is one event whose property is the quantity', async () => {
    const body = { subject: 'user-1', meter: 'tokens', quantity: 15, metadata: { model: 'large' } }
    const answer = await record({ ...body, timestamp: '2026-11-20T11:00:00Z', idempotency_key: 'k-1' })
    expect(answer).toEqual({
      status: 202,
      body: {
        ...{ usage_id: 'k-1', source: 'usage-records', type: 'llm.request', subject: 'user-1' },
        recorded_at: '2026-11-20T12:00:00.000Z',
      },
    })
    expect(await logged()).toEqual([
      {
        ...{ source: 'usage-records', id: 'k-1', subject: 'user-1', timeMs: Date.UTC(2026, 10, 20, 11) },
        data: { tokens: 15, model: 'large', cost: null },
      },
    ])
    expect(await usage('tokens')).toEqual({ quantity: '15', events: 1 })
  })

  test('takes a quantity as number or as text, whichever the schema has', async () => {
    const metadata = { tokens: 0 }
    for (const quantity of [0.25, '0.25']) {
      expect((await record({ subject: 's', meter: 'cost', quantity, metadata })).status).toBe(202)
      expect(
        (await record({ subject: 's', meter: 'tokens', quantity: typeof quantity === 'string' ? '3' : 3 })).status,
      ).toBe(202)
    }
    expect(await usage('cost')).toEqual({ quantity: '0.5', events: 4 })
    expect(await usage('tokens')).toEqual({ quantity: '6', events: 4 })
  })

  test('on a meter that counts is one event, and no quantity but 1 fits it', async () => {
    const metadata = { tokens: 1 }
    expect((await record({ subject: 's', meter: 'requests', metadata })).status).toBe(202)
    expect((await record({ subject: 's', meter: 'requests', quantity: '1', metadata })).status).toBe(202)
    expect(await record({ subject: 's', meter: 'requests', quantity: 2, metadata })).toMatchObject({
      status: 400,
      body: { errors: [{ path: 'quantity' }] },
    })
    expect(await usage('requests')).toEqual({ quantity: '2', events: 2 })
  })

  test('of an event type has its data, checked as ever', async () => {
    const given = { subject: 's', type: 'llm.request' }
    expect((await record({ ...given, data: { tokens: 3 } })).status).toBe(202)
    expect(await record({ ...given, data: { token: 3 } })).toMatchObject({
      status: 400,
      body: { code: 'events_refused', reason: 'missing_field', errors: [{ path: 'data.tokens' }] },
    })
    expect(await record({ ...given, type: 'unheard.of', data: {} })).toMatchObject({
      status: 400,
      body: { reason: 'unknown_type' },
    })
    expect(await usage('tokens')).toEqual({ quantity: '3', events: 1 })
  })

  test('names its customer or subscription where that leaves no doubt', async () => {
    const subscription = await createCustomer('acme', ['acme-user'])
    await createCustomer('many', ['many-1', 'many-2'])
    for (const whose of [
      { customer: 'acme' },
      { subscription_id: subscription },
      { subscription_id: 'acme-subscription' },
    ])
      expect(await record({ ...whose, meter: 'tokens', quantity: 1 })).toMatchObject({ body: { subject: 'acme-user' } })
    const refused = { status: 400, body: { errors: [{ path: 'subject' }] } }
    expect(await record({ customer: 'many', meter: 'tokens', quantity: 1 })).toMatchObject(refused)
    expect(await record({ meter: 'tokens', quantity: 1 })).toMatchObject(refused)
    expect(await record({ subject: 's', customer: 'acme', meter: 'tokens', quantity: 1 })).toMatchObject(refused)
    expect((await record({ customer: 'nobody', meter: 'tokens', quantity: 1 })).status).toBe(404)
    expect(await usage('tokens')).toEqual({ quantity: '3', events: 3 })
  })

  test('of another tenant’s customer or meter is of nobody’s (EPIC-5)', async () => {
    const other = await metering.tenant(`t-${made++}`)
    await createCustomer('acme', ['acme-user'])
    expect((await record({ customer: 'acme', type: 'x', data: {} })).status).toBe(404)
    expect((await record({ subject: 's', meter: 'tokens', quantity: 1 })).status).toBe(404)
    expect(other.id).not.toBe(tenant.id)
  })

  test.each([
    ['nothing to record', { subject: 's' }, 'meter'],
    ['a quantity without a meter', { subject: 's', type: 'llm.request', quantity: 1 }, 'meter'],
    ['data beside a meter', { subject: 's', meter: 'tokens', data: { tokens: 1 } }, 'data'],
    ['no quantity', { subject: 's', meter: 'tokens' }, 'quantity'],
    ['a negative quantity', { subject: 's', meter: 'tokens', quantity: -1 }, 'data.tokens'],
    ['a meter of another type', { subject: 's', meter: 'tokens', type: 'x', quantity: 1 }, 'type'],
    ['a bad time', { subject: 's', meter: 'tokens', quantity: 1, timestamp: 'now' }, 'timestamp'],
    ['an unknown member', { subject: 's', meter: 'tokens', quantity: 1, amount: 1 }, 'amount'],
  ])('with %s is refused by name', async (_name, body, path) => {
    expect(await record(body)).toMatchObject({ status: 400, body: { errors: [{ path }] } })
    expect(await logged()).toEqual([])
  })
})

test.each([['data'], ['metadata']])(
  '%s nested a hundred thousand levels deep is refused, and nothing breaks',
  async (name) => {
    const nested = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`
    const what = name === 'data' ? '"type":"llm.request"' : '"meter":"requests"'
    const response = await metering.app.inject({
      method: 'POST',
      url: '/api/v1/usage-records',
      headers: { authorization: `Bearer t-${made - 1}`, 'content-type': 'application/json' },
      payload: `{"subject":"s",${what},"${name}":${nested}}`,
    })
    expect(response.statusCode).toBe(400)
  },
)

describe('the idempotency key is the event’s id', () => {
  const body = { subject: 's', meter: 'tokens', quantity: 5 }

  test('the same key again counts once, whether in the header or in the body', async () => {
    const header = { 'idempotency-key': 'once' }
    expect((await record(body, header)).body).toMatchObject({ usage_id: 'once' })
    metering.clock.nowMs += 60_000
    expect((await record(body, header)).status).toBe(202)
    expect((await record({ ...body, idempotency_key: 'once' })).status).toBe(202)
    expect((await record({ ...body, idempotency_key: 'once' }, header)).status).toBe(202)
    expect(await usage('tokens')).toEqual({ quantity: '5', events: 1 })
  })

  test('without one every record counts, under an id of its own that carries its time', async () => {
    const ids = [await record(body), await record(body)].map(({ body: { usage_id } }) => usage_id)
    expect(new Set(ids).size).toBe(2)
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(await usage('tokens')).toEqual({ quantity: '10', events: 2 })
  })

  test('two keys that contradict each other are refused', async () => {
    expect((await record({ ...body, idempotency_key: 'a' }, { 'idempotency-key': 'b' })).status).toBe(400)
  })
})

/** BIS-5: /usage/track is a thin door onto the same operation. */
test('/usage/track does the same; each door is a source of its own', async () => {
  const body = { subject: 's', meter: 'tokens', quantity: 5 }
  const key = { 'idempotency-key': 'same' }
  expect(await track(body, key)).toMatchObject({ status: 202, body: { usage_id: 'same', source: 'usage-track' } })
  expect((await track(body, key)).status).toBe(202)
  expect((await record(body, key)).status).toBe(202)
  expect(await usage('tokens')).toEqual({ quantity: '10', events: 2 })
})

test('a quota that is used up is 429 with what remains', async () => {
  await tenant.call('PUT', '/quota/s/tokens', { limit: '5', window: 'month' })
  const body = { subject: 's', meter: 'tokens', quantity: 4 }
  expect(await record(body)).toMatchObject({ status: 202, body: { quota_remaining: '1' } })
  expect(await record(body)).toMatchObject({ status: 429, body: { code: 'quota_exceeded', quota_remaining: '1' } })
})
