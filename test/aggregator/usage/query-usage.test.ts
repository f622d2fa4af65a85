import pg from 'pg'
import { v7 } from 'uuid'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { type EventChange, logRow, usageEvent } from '../../support/log-events.ts'
import { type Answer, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

const DAY = Date.UTC(2026, 10, 20)
let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`t-${made++}`)
  const group_by = ['model', '$.place.region']
  await tenant.call('PUT', '/meters/tokens', {
    event_type: 'llm.request',
    aggregation: 'sum',
    value: 'tokens',
    group_by,
  })
  await tenant.call('PUT', '/meters/requests', { event_type: 'llm.request', aggregation: 'count' })
})

async function add(...events: EventChange[]): Promise<void> {
  const encoded = events.map((event, n) => usageEvent(`e-${made}-${n}`, { tenant: tenant.id, ...event }))
  await insertRecords(metering.store, `log-${made++}`, [logRow(encoded)])
}

const RANGE = { meter: 'tokens', from: '2026-11-01T00:00:00Z', to: '2026-12-01T00:00:00Z' }
const ask = (query: Record<string, string> = {}, by = tenant) =>
  by.call('GET', `/usage?${new URLSearchParams({ ...RANGE, ...query })}`)
const totalOf = ({ body }: Answer) => body.total as { quantity: string; events: number }

describe('GET /usage', () => {
  test('answers exact decimals as text, and one window without windows asked for', async () => {
    await add(
      { data: { tokens: 0.1 } },
      { data: { tokens: '0.2' } },
      { data: { tokens: '12345678901234567890.123456789012' } },
    )
    const total = { quantity: '12345678901234567890.423456789012', events: 3 }
    expect((await ask()).body).toEqual({
      meter: 'tokens',
      from: '2026-11-01T00:00:00.000Z',
      to: '2026-12-01T00:00:00.000Z',
      timezone: 'UTC',
      total,
      windows: [{ start: '2026-11-01T00:00:00.000Z', end: '2026-12-01T00:00:00.000Z', ...total }],
    })
  })

  test('without usage: a zero, no windows', async () => {
    expect((await ask()).body).toMatchObject({ total: { quantity: '0', events: 0 }, windows: [] })
  })

  test('a value that is absent or null counts 0; of other types nothing counts', async () => {
    await add({ data: {} }, { data: { tokens: null } }, { data: { tokens: 5 } }, { data: { tokens: 7 }, type: 'other' })
    expect(totalOf(await ask())).toEqual({ quantity: '5', events: 3 })
    expect(totalOf(await ask({ meter: 'requests' }))).toEqual({ quantity: '3', events: 3 })
  })

  test('the range is half-open and floored to the minute', async () => {
    const at = (text: string) => Date.parse(`2026-11-20T${text}Z`)
    await add(
      { timeMs: at('10:00:00') - 1 },
      { timeMs: at('10:00:00') },
      { timeMs: at('10:59:59.999') },
      { timeMs: at('11:00:00') },
    )
    const events = async (from: string, to: string) =>
      totalOf(await ask({ from: `2026-11-20T${from}Z`, to: `2026-11-20T${to}Z` })).events
    expect(await events('10:00:00', '11:00:00')).toBe(2)
    expect(await events('10:00:59', '11:00:30')).toBe(2)
    expect(await events('09:59:00', '11:01:00')).toBe(4)
    expect(totalOf(await ask({ from: '2026-11-20T12:00:00+02:00', to: '2026-11-20T13:00:00+02:00' })).events).toBe(2)
  })

  test('a very long range holds everything', async () => {
    await add({}, { timeMs: DAY })
    expect(totalOf(await ask({ from: '1900-01-01T00:00:00Z', to: '9999-01-01T00:00:00Z' })).events).toBe(2)
  })

  test('of one subject, whatever its name holds', async () => {
    const names = ["o'hara", 'a,b', 'x\\', '', 'é😀', '%', "'); DROP TABLE events; --"]
    await add(...names.map((subject, n) => ({ subject, data: { tokens: n + 1 } })))
    for (const [n, subject] of names.entries()) {
      if (subject === '') continue
      expect(totalOf(await ask({ subject }))).toEqual({ quantity: String(n + 1), events: 1 })
    }
    expect(totalOf(await ask({ subject: 'nobody' })).events).toBe(0)
    expect(totalOf(await ask()).events).toBe(names.length)
  })

  test('by subject and by dimensions of the meter, in the order asked for', async () => {
    await add(
      { subject: 'b', data: { tokens: 1, model: 'small', place: { region: 'eu' } } },
      { subject: 'a', data: { tokens: 2, model: 'small', place: { region: 'us' } } },
      { subject: 'a', data: { tokens: 4, model: 'large', place: { region: 'eu' } } },
      { subject: 'a', data: { tokens: 8 } },
    )
    const windows = async (group_by: string) => (await ask({ group_by })).body.windows as Record<string, unknown>[]
    const short = (one: Record<string, unknown>) => [one.subject, one.group, one.quantity]
    expect((await windows('subject')).map(short)).toEqual([
      ['a', undefined, '14'],
      ['b', undefined, '1'],
    ])
    expect((await windows('model')).map(short)).toEqual([
      [undefined, { model: '' }, '8'],
      [undefined, { model: 'large' }, '4'],
      [undefined, { model: 'small' }, '3'],
    ])
    const both = [
      ['a', { 'place.region': '', model: '' }, '8'],
      ['a', { 'place.region': 'eu', model: 'large' }, '4'],
      ['a', { 'place.region': 'us', model: 'small' }, '2'],
      ['b', { 'place.region': 'eu', model: 'small' }, '1'],
    ]
    expect((await windows('$.place.region, model,subject')).map(short)).toEqual(both)
    expect((await windows('place.region,model,subject,model')).map(short)).toEqual(both)
  })

  test.each([
    ['no meter of that name', { meter: 'nothing' }, 404, undefined],
    ['no customer of that name', { customer: 'nobody' }, 404, undefined],
    ['subject beside customer', { subject: 'a', customer: 'b' }, 400, 'customer'],
    ['a time that is none', { from: 'yesterday' }, 400, 'from'],
    ['a day instead of an instant', { to: '2026-11-20' }, 400, 'to'],
    ['a time without an offset', { to: '2026-11-20T00:00:00' }, 400, 'to'],
    ['a day that does not exist', { to: '2026-02-30T00:00:00Z' }, 400, 'to'],
    ['nothing between from and to', { to: '2026-11-01T00:00:30Z' }, 400, 'to'],
    ['to before from', { to: '2026-10-01T00:00:00Z' }, 400, 'to'],
    ['a zone that is none', { timezone: 'Mars/Olympus' }, 400, 'timezone'],
    ['an offset as zone', { timezone: '+02:00' }, 400, 'timezone'],
    ['another window', { window: 'year' }, 400, 'window'],
    ['a dimension that the meter lacks', { group_by: 'model,odd' }, 400, 'group_by'],
    ['an empty subject', { subject: '' }, 400, 'subject'],
    ['an unknown parameter', { odd: '1' }, 400, 'odd'],
    ['more hours than one answer holds', { from: '2020-01-01T00:00:00Z', window: 'hour' }, 400, undefined],
    ['years that no calendar here has', { from: '0001-01-01T00:00:00Z', window: 'month' }, 400, undefined],
  ])('%s: %#', async (_name, query, status, path) => {
    const answer = await ask(query as Record<string, string>)
    expect(answer.status).toBe(status)
    const { errors } = answer.body as { errors?: { path: string }[] }
    if (path !== undefined) expect(errors?.map((error) => error.path)).toContain(path)
  })

  test('needs the permission to read usage', async () => {
    const emitter = await metering.tenant(`t-${made++}`, ['billing:usage:create'])
    expect((await ask({}, emitter)).status).toBe(403)
  })
})

describe('usage of a customer', () => {
  async function createCustomer(key: string, ...subjects: string[]): Promise<string> {
    const id = v7()
    await withTenant(metering.database.pool, tenant.id, async (tx) => {
      await tx.query(
        `INSERT INTO customers (tenant_id, id, external_key, currency, timezone, created_at)
         VALUES (app_tenant(), $1, $2, 'USD', 'UTC', now())`,
        [id, key],
      )
      for (const subject of subjects)
        await tx.query('INSERT INTO customer_subjects VALUES (app_tenant(), $1, $2)', [subject, id])
    })
    return id
  }

  /** What the invoicer writes for a line; as owner without its other tables, which are tested with it. */
  async function bill(
    customer: string,
    meter: string,
    month: number,
    quantity: string,
    charge = 'usage',
  ): Promise<void> {
    const owner = new pg.Client({ connectionString: metering.database.ownerUrl })
    await owner.connect()
    await owner.query('SET session_replication_role = replica')
    await owner.query(
      `INSERT INTO billed_usage (tenant_id, subscription_id, charge_key, meter, period_start, period_end, customer_id,
         invoice_id, line_index, seal_id, quantity, event_count, digest)
       VALUES ($1, $2, $3, $4, $5, $6, $2, $7, 0, $7, $8, 1, 1)`,
      [
        tenant.id,
        customer,
        charge,
        meter,
        new Date(Date.UTC(2026, month)),
        new Date(Date.UTC(2026, month + 1)),
        v7(),
        quantity,
      ],
    )
    await owner.end()
  }

  test('is that of all its subjects, asked for by external key or id', async () => {
    const id = await createCustomer('acme', 'a', 'b')
    await createCustomer('other', 'c')
    await add(
      { subject: 'a' },
      { subject: 'b', data: { tokens: 2 } },
      { subject: 'c', data: { tokens: 4 } },
      { subject: 'd' },
    )
    for (const customer of ['acme', id]) {
      const { body } = await ask({ customer, group_by: 'subject' })
      expect(body).toMatchObject({ total: { quantity: '3', events: 2 }, billed: '0', unbilled: '3' })
      expect((body.windows as { subject: string }[]).map(({ subject }) => subject)).toEqual(['a', 'b'])
    }
  })

  test('of a customer without subjects there is none', async () => {
    await createCustomer('empty')
    await add({})
    expect((await ask({ customer: 'empty' })).body).toMatchObject({
      total: { quantity: '0' },
      windows: [],
      unbilled: '0',
    })
  })

  test('what came after its invoice shows as unbilled', async () => {
    const id = await createCustomer('acme', 'a')
    await add({ subject: 'a', data: { tokens: '10.5' } })
    await bill(id, 'tokens', 10, '8.25')
    expect((await ask({ customer: 'acme' })).body).toMatchObject({ billed: '8.25', unbilled: '2.25' })
  })

  test('what a void invoice billed is not billed; what took its place is', async () => {
    const id = await createCustomer('acme', 'a')
    await add({ subject: 'a', data: { tokens: 10 } })
    await bill(id, 'tokens', 10, '4')
    const owner = new pg.Client({ connectionString: metering.database.ownerUrl })
    await owner.connect()
    await owner.query('UPDATE billed_usage SET void_invoice_id = invoice_id WHERE customer_id = $1', [id])
    await owner.end()
    expect((await ask({ customer: 'acme' })).body).toMatchObject({ billed: '0', unbilled: '10' })
    await bill(id, 'tokens', 10, '7')
    expect((await ask({ customer: 'acme' })).body).toMatchObject({ billed: '7', unbilled: '3' })
  })

  test('a meter with two charges was billed once; other meters, other periods and other customers do not count', async () => {
    const id = await createCustomer('acme', 'a')
    const other = await createCustomer('other', 'b')
    await add({ subject: 'a', data: { tokens: 10 } })
    await bill(id, 'tokens', 10, '4')
    await bill(id, 'tokens', 10, '4', 'overage')
    await bill(id, 'requests', 10, '1')
    await bill(id, 'tokens', 9, '100')
    await bill(other, 'tokens', 10, '1000')
    expect((await ask({ customer: 'acme' })).body).toMatchObject({ billed: '4', unbilled: '6' })
    const long = { from: '2026-10-01T00:00:00Z' }
    expect((await ask({ customer: 'acme', ...long })).body).toMatchObject({ billed: '104', unbilled: '-94' })
  })

  test('of another tenant’s customer nobody knows (EPIC-5)', async () => {
    const id = await createCustomer('acme', 'a')
    const other = await metering.tenant(`t-${made++}`)
    await other.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'count' })
    for (const customer of ['acme', id]) expect((await ask({ customer }, other)).status).toBe(404)
  })
})
