import { Writable } from 'node:stream'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { decodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import { PERMISSIONS } from '../../../schemas/http/permissions.ts'
import { createCustomer, giveSubject } from '../../support/customers.ts'
import { type Json, METERING_NOW, type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { billingCalls, openClinic } from './billing-calls.ts'

/** HC-1 and HC-3: POST /api/v1/billing/usage, exactly as it was promised. */
let metering: Metering
let tenant: Tenant
let made = 0
let logAway = false
const lines: Json[] = []

beforeAll(async () => {
  const stream = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(JSON.parse(String(chunk)))
      done()
    },
  })
  metering = await openMetering(
    (writer) => ({
      ...writer,
      append: async (records) => {
        if (logAway) throw new Error('no log')
        return writer.append(records)
      },
    }),
    { logger: pino({ level: 'info' }, stream) },
  )
})
afterAll(() => metering.close())
beforeEach(async () => {
  logAway = false
  lines.length = 0
  metering.clock.nowMs = METERING_NOW
  tenant = await openClinic(metering, `b-${made++}`)
})

const { use, limit } = billingCalls(() => tenant)
const EXCEEDED = { status: 429, body: { code: 'quota_exceeded', quota_exceeded: true } }

async function logged() {
  const rows = await metering.log.reader.read([0, 0, 0], 1e9)
  const events = rows.flatMap(({ batch }) => decodeBatch(batch)).filter((event) => event.tenant === tenant.id)
  return events.map(({ source, id, type, subject, data }) => ({
    ...{ source, id, type, subject },
    data: JSON.parse(data) as Json,
  }))
}
async function usage() {
  await metering.settled()
  const range = 'from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z'
  return (await tenant.call('GET', `/usage?meter=conversation_minutes&${range}`)).body.total
}

describe('the example of HC-1', () => {
  test('tier basic has 1,500 conversation minutes a month, 44 were used, 15.5 more leave 1440.5', async () => {
    await use(44)
    await metering.settled()
    await limit('1500')
    expect(await use(15.5)).toMatchObject({
      status: 202,
      body: {
        usage_id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7/),
        recorded_at: '2026-11-20T12:00:00.000Z',
        quota_remaining: 1440.5,
        quota_exceeded: false,
      },
    })
    expect(await usage()).toEqual({ quantity: '59.5', events: 2 })
  })

  test('and the answer has these four members and no other, the remaining quota as a number', async () => {
    await limit('1500')
    await use(44)
    const response = await metering.app.inject({
      method: 'POST',
      url: '/api/v1/billing/usage',
      headers: { authorization: `Bearer b-${made - 1}`, 'idempotency-key': 'k' },
      payload: {
        ...{ user_id: 'user-1', organization_id: 'clinic-7', usage_type: 'conversation_minutes', quantity: 15.5 },
        metadata: { channel: 'phone' },
      },
    })
    expect(response.body).toBe(
      '{"usage_id":"k","recorded_at":"2026-11-20T12:00:00.000Z","quota_remaining":1440.5,"quota_exceeded":false}',
    )
  })
})

describe('a quantity', () => {
  test('is exact, as a number and as a text', async () => {
    await limit('1')
    for (const [quantity, remaining] of [
      [0.1, 0.9],
      ['0.2', 0.7],
      [0.3, 0.4],
      ['0.4', 0],
    ])
      expect((await use(quantity)).body.quota_remaining).toBe(remaining)
    expect(await use('0.000001')).toMatchObject({ ...EXCEEDED, body: { quota_remaining: 0 } })
    expect(await usage()).toEqual({ quantity: '1', events: 4 })
  })

  test('is 1 on a usage type that counts', async () => {
    await limit('2', { meter: 'conversations' })
    const one = { usage_type: 'conversations', metadata: { minutes: '3' } }
    expect((await use(1, one)).body.quota_remaining).toBe(1)
    expect(await use(2, one)).toMatchObject({ status: 400, body: { errors: [{ path: 'quantity' }] } })
  })
})

describe('what remains', () => {
  test('is null without a limit', async () => {
    expect((await use(15.5)).body).toMatchObject({ quota_remaining: null, quota_exceeded: false })
  })

  test('is a text where a number would not be exact', async () => {
    await limit('12345678901234567.5')
    expect((await use('0.25')).body.quota_remaining).toBe('12345678901234567.25')
    expect((await use('12345678901000000')).body.quota_remaining).toBe(234567.25)
  })

  test('is that of the limit on the usage type, whatever else the event draws on', async () => {
    await limit('1500')
    await limit('10', { meter: 'conversations' }, 'basic', 'talks')
    expect((await use(15.5)).body).toMatchObject({ quota_remaining: 1484.5, quota_exceeded: false })
    for (let n = 0; n < 9; n++) await use(1)
    const refused = await use(1)
    expect(refused).toMatchObject({ ...EXCEEDED, body: { quota_remaining: 0 } })
    const { limits } = refused.body.reason as { limits: Json[] }
    expect(limits.map(({ feature, allows }) => [feature, allows]).sort()).toEqual([
      ['minutes', true],
      ['talks', false],
    ])
  })

  test('is told to be exceeded where the limit is soft: recorded, and flagged', async () => {
    await limit('10', { enforcement: 'soft' })
    expect((await use(10)).body).toMatchObject({ quota_remaining: 0, quota_exceeded: false })
    expect(await use(1)).toMatchObject({ status: 202, body: { quota_remaining: 0, quota_exceeded: true } })
    expect(await usage()).toEqual({ quantity: '11', events: 2 })
  })
})

describe('an organization', () => {
  const organization_id = 'clinic-7'
  const newCustomer = (key: string, subjects: string[]) =>
    createCustomer(metering.database.pool, tenant.id, key, subjects)

  test('that the user belongs to, by its key or id, is kept with the usage', async () => {
    const id = await newCustomer(organization_id, ['user-1'])
    expect((await use(1, { organization_id }, 'a')).status).toBe(202)
    expect((await use(1, { organization_id: id }, 'b')).status).toBe(202)
    expect((await use(1, {}, 'c')).status).toBe(202)
    expect((await logged()).map(({ source }) => source).sort()).toEqual(
      ['billing-usage', `billing-usage/${id}`, 'billing-usage/clinic-7'].sort(),
    )
  })

  test('that is not the user’s is 403, whether there is such a customer or not, and nothing is recorded', async () => {
    await newCustomer('clinic-8', ['user-1'])
    for (const other of [await newCustomer(organization_id, []), organization_id, 'nobody-knows'])
      expect(await use(1, { organization_id: other })).toMatchObject({
        status: 403,
        body: { code: 'wrong_organization', errors: [{ path: 'organization_id' }] },
      })
    expect(await logged()).toEqual([])
  })

  test('of a user who is nobody’s is kept with the usage, and makes the user nobody’s still', async () => {
    const id = await newCustomer(organization_id, [])
    for (const named of [organization_id, 'nobody-knows'])
      expect((await use(2, { organization_id: named, user_id: 'new' })).status).toBe(202)
    expect((await logged()).map(({ source }) => source).sort()).toEqual([
      'billing-usage/clinic-7',
      'billing-usage/nobody-knows',
    ])
    await metering.settled()
    const range = 'from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z'
    const ofClinic = async () =>
      (await tenant.call('GET', `/usage?meter=conversation_minutes&customer=clinic-7&${range}`)).body.total
    expect(await ofClinic()).toMatchObject({ quantity: '0' })
    // Whoever makes the user the clinic's finds the usage there.
    await giveSubject(metering.database.pool, tenant.id, id, 'new')
    expect(await ofClinic()).toMatchObject({ quantity: '4' })
  })

  test('is the one that the user was given to a moment ago', async () => {
    await limit('1500')
    await newCustomer('clinic-8', ['user-1'])
    expect((await use(1, { organization_id: 'clinic-8' })).status).toBe(202)
    expect((await use(1, { organization_id, user_id: 'later' })).status).toBe(202)
    await newCustomer(organization_id, ['later'])
    expect((await use(1, { organization_id, user_id: 'later' })).status).toBe(202)
    expect((await use(1, { organization_id: 'clinic-8', user_id: 'later' })).status).toBe(403)
  })

  test('of another tenant is no organization (EPIC-5)', async () => {
    const other = await openClinic(metering, `b-other-${made++}`)
    await createCustomer(metering.database.pool, other.id, 'theirs', ['user-1'])
    expect((await use(1, { organization_id })).status).toBe(202)
  })
})

describe('an Idempotency-Key', () => {
  test('counts once, and is answered alike', async () => {
    await limit('1500')
    const first = await use(15.5, {}, 'once')
    expect(first.body).toMatchObject({ usage_id: 'once', quota_remaining: 1484.5 })
    expect(await use(15.5, {}, 'once')).toMatchObject({ status: 202, body: first.body })
    expect(await usage()).toEqual({ quantity: '15.5', events: 1 })
  })

  test('is a key of its organization, and of this door', async () => {
    await use(1, { organization_id: 'a' }, 'same')
    await use(1, { organization_id: 'a' }, 'same')
    await use(1, { organization_id: 'b' }, 'same')
    await tenant.call('POST', '/usage-records', {
      ...{ subject: 'user-1', meter: 'conversation_minutes', quantity: 1, idempotency_key: 'same' },
    })
    expect(await usage()).toEqual({ quantity: '3', events: 3 })
  })

  test('left out: every usage counts', async () => {
    const ids = [await use(1), await use(1)].map(({ body }) => body.usage_id)
    expect(new Set(ids).size).toBe(2)
    expect(await usage()).toEqual({ quantity: '2', events: 2 })
  })
})

/** HC-3 */
describe('errors', () => {
  test.each([
    ['no quantity', { quantity: undefined }, 'quantity'],
    ['a quantity that is no number', { quantity: 'many' }, 'quantity'],
    ['a negative quantity', { quantity: -1 }, 'quantity'],
    ['a negative quantity as text', { quantity: '-0.5' }, 'quantity'],
    ['a number that is not exact', { quantity: 0.1234567890123456 }, 'quantity'],
    ['no user', { user_id: undefined }, 'user_id'],
    ['an empty user', { user_id: '' }, 'user_id'],
    ['a user with a control character', { user_id: 'a\u0007' }, 'user_id'],
    ['an organization with a control character', { organization_id: 'a\u0007' }, 'organization_id'],
    ['no usage type', { usage_type: undefined }, 'usage_type'],
    ['an unknown usage type', { usage_type: 'visits' }, 'usage_type'],
    ['an unknown member', { amount: 1 }, 'amount'],
    ['metadata that its schema does not have', { metadata: { diagnosis: 'x' } }, 'metadata.diagnosis'],
    ['metadata of another type', { metadata: { channel: 5 } }, 'metadata.channel'],
  ])('400: %s', async (_name, change, path) => {
    const answer = await use(15.5, change)
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ path }] } })
    expect(answer.body.detail).toContain(path)
    expect(await logged()).toEqual([])
  })

  test('400: a usage type that does not say where a quantity goes', async () => {
    const meter = { event_type: 'conversation', aggregation: 'max', value: 'minutes' }
    await tenant.call('PUT', '/meters/longest', meter)
    expect(await use(1, { usage_type: 'longest' })).toMatchObject({
      status: 400,
      body: { errors: [{ path: 'usage_type' }] },
    })
  })

  test('401 without a key, 403 without the permission', async () => {
    const response = await metering.app.inject({ method: 'POST', url: '/api/v1/billing/usage', payload: {} })
    expect(response.statusCode).toBe(401)
    const others = PERMISSIONS.filter((one) => one !== 'billing:usage:create')
    const weak = metering.scopedKey(tenant, `weak-${made++}`, 'everything', others)
    expect(await use(1, {}, undefined, weak)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
  })

  test('429 with what remains, and nothing is taken', async () => {
    await limit('20')
    await use(15.5)
    expect(await use(5)).toMatchObject({
      ...EXCEEDED,
      body: { quota_remaining: 4.5, quota_exceeded: true, resets_at: '2026-12-01T00:00:00.000Z', retryable: false },
    })
    expect((await use(4.5)).body.quota_remaining).toBe(0)
    expect(await usage()).toEqual({ quantity: '20', events: 2 })
  })

  test('503 while the log is away, and what was drawn is given back', async () => {
    await limit('20')
    logAway = true
    expect(await use(15.5, {}, 'k')).toMatchObject({ status: 503, body: { code: 'unavailable', retryable: true } })
    logAway = false
    expect((await use(15.5, {}, 'k')).body.quota_remaining).toBe(4.5)
  })
})

/** HC-10 */
test('a line of the log tells who used how much of what, and what remains', async () => {
  await limit('1500')
  await use('15.50')
  await use(2000)
  const told = lines.filter(({ event }) => event === 'usage_recorded')
  expect(told).toEqual([
    expect.objectContaining({
      ...{ service: 'ingest', user_id: 'user-1', usage_type: 'conversation_minutes', amount: 15.5 },
      quota_remaining: '1484.5',
    }),
  ])
})
