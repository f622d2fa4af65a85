import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { withTenant } from '../../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { buildDoors } from '../../support/doors.ts'
import { memoryUsage } from '../../support/memory-usage.ts'
import { createMeter, startSealer } from '../../support/world.ts'

/** Issue 7: immutable versions with effective dates; existing subscriptions keep theirs. */
let database: TestDatabase
let doors: ReturnType<typeof buildDoors>
let tenant: number
const clock = { nowMs: Date.UTC(2024, 0, 10, 12, 0, 30) }
beforeAll(async () => {
  database = await createTestDatabase()
  doors = buildDoors(database, { now: () => clock.nowMs })
  await doors.app.ready()
})
afterAll(async () => {
  await doors.invoicer.stop()
  await doors.app.close()
  await database.drop()
})
let made = 0
beforeEach(async () => {
  made += 1
  clock.nowMs = Date.UTC(2024, 0, 10, 12, 0, 30)
  tenant = await database.createTenant(`versions-${made}`)
  await createMeter(database, tenant, 'tokens')
})

const post = (url: string, body: object = {}) => doors.call(tenant, 'POST', url, body)
const get = (url: string) => doors.call(tenant, 'GET', url)
const priced = (amount: string, change: object = {}) => ({
  name: 'Basic',
  currency: 'USD',
  interval: 'month',
  alignment: 'calendar',
  grace_seconds: 0,
  fees: 'in_arrears',
  charges: [{ key: 'base', name: 'Base', price: { model: 'flat', amount } }],
  ...change,
})
const create = (amount: string, change: object = {}) => post('/plans', { key: 'basic', ...priced(amount, change) })
const version = (amount: string, change: object = {}) => post('/plans/basic/versions', priced(amount, change))
type Stored = { id: string; version: number; charges: { price: { amount: string } }[] }
const versionsOf = async () =>
  ((await get('/plans/basic/versions')).body.versions as { version: number; effective_from: string | null }[]).map(
    (one) => [one.version, one.effective_from],
  )

async function asOwner(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: database.ownerUrl })
  await client.connect()
  await client.query(sql)
  await client.end()
}

/** `old`, as plan `basic` would stand there from before there were hashes. */
async function storeOldPlan(): Promise<void> {
  await withTenant(database.pool, tenant, async (tx) => {
    await tx.query(
      `INSERT INTO plans (tenant_id, id, key, name, currency, period_interval, alignment, grace_seconds, created_at)
       SELECT tenant_id, gen_random_uuid(), 'old', name, currency, period_interval, alignment, grace_seconds, now()
       FROM plans WHERE key = 'basic' AND version = 1`,
    )
    await tx.query(
      `INSERT INTO plan_charges (tenant_id, plan_id, position, key, name, meter, price)
       SELECT c.tenant_id, (SELECT id FROM plans WHERE key = 'old'), c.position, c.key, c.name, c.meter, c.price
       FROM plan_charges c JOIN plans p ON p.id = c.plan_id WHERE p.key = 'basic' AND p.version = 1`,
    )
  })
}

async function billed() {
  const sealer = startSealer(database, tenant, memoryUsage([]))
  try {
    const { body } = await post('/billing-runs')
    const read = async () => (await get(`/billing-runs/${body.id}`)).body
    await expect.poll(async () => (await read()).state, { timeout: 60_000 }).not.toBe('running')
    const run = await read()
    expect(run).toMatchObject({ state: 'completed', error: null })
    return run
  } finally {
    await sealer.stop()
  }
}

describe('versions of a plan', () => {
  test('a plan begins with version 1, which the same content answers again, however it is spelled', async () => {
    const first = await create('20.00')
    expect(first).toMatchObject({
      status: 201,
      body: {
        version: 1,
        effective_from: null,
        every: 1,
        proration_basis: 'second',
        hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    })
    expect(await create('20')).toEqual({ ...first, status: 200 })
    expect(await create('20.000', { every: 1, proration_basis: 'second' })).toEqual({ ...first, status: 200 })
    const other = await create('21')
    expect(other).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(other.body.detail).toContain('create a version')
    expect((await create('20', { name: 'Renamed' })).status).toBe(409)
    await version('21')
    // The call that made the plan may be sent again after a version came.
    expect(await create('20')).toEqual({ ...first, status: 200 })
  })

  test('a version takes effect now or later; by its number it is read for ever', async () => {
    await create('20')
    const second = await version('21')
    expect(second).toMatchObject({ status: 201, body: { version: 2, effective_from: '2024-01-10T12:00:00.000Z' } })
    const third = await version('22', { effective_from: '2024-02-01T00:00:00Z' })
    expect(third).toMatchObject({ status: 201, body: { version: 3, effective_from: '2024-02-01T00:00:00.000Z' } })
    expect((await get('/plans/basic')).body).toEqual(second.body)
    expect((await get('/plans')).body.plans).toEqual([second.body])
    expect((await get('/plans/basic?version=1')).body).toMatchObject({
      version: 1,
      charges: [{ price: { amount: '20' } }],
    })
    expect((await get('/plans/basic?version=4')).status).toBe(404)
    expect((await get('/plans/other/versions')).status).toBe(404)
    expect((await get('/plans/basic/versions')).body.versions).toEqual([
      (await get('/plans/basic?version=1')).body,
      second.body,
      third.body,
    ])
    clock.nowMs = Date.UTC(2024, 1, 1)
    expect((await get('/plans/basic')).body).toEqual(third.body)
    expect((await get('/plans')).body.plans).toEqual([third.body])
  })

  test('the same call again makes nothing, also late where it names its number', async () => {
    await create('20')
    const body = { version: 2, effective_from: '2024-01-11T00:00:00Z' }
    const second = await version('21', body)
    expect(await version('21', body)).toEqual({ ...second, status: 200 })
    expect(await version('21')).toEqual({ ...second, status: 200 })
    await version('20', { version: 3, effective_from: '2024-01-12T00:00:00Z' })
    clock.nowMs = Date.UTC(2024, 5, 1)
    expect(await version('21', body)).toEqual({ ...second, status: 200 })
    expect(await versionsOf()).toEqual([
      [1, null],
      [2, '2024-01-11T00:00:00.000Z'],
      [3, '2024-01-12T00:00:00.000Z'],
    ])
    const made = (await get('/billing-events?limit=999')).body.events as { event: string }[]
    expect(made.filter(({ event }) => event === 'plan.version_created')).toHaveLength(2)
    expect((await version('23', { version: 3 })).status).toBe(409)
    expect((await version('23', { version: 5 })).body.detail).toContain('the next is 4')
    expect((await version('20', { effective_from: '2024-07-01T00:00:00Z' })).body.detail).toContain('already')
  })

  test('one without a date follows the latest that a faster clock made, and not what is scheduled', async () => {
    await create('20')
    await version('21', { effective_from: '2024-01-10T12:05:00Z' })
    expect(await version('22')).toMatchObject({ status: 201, body: { effective_from: '2024-01-10T12:05:00.000Z' } })
    await version('23', { effective_from: '2024-01-10T12:06:00Z' })
    expect(await version('24')).toMatchObject({ status: 400, body: { errors: [{ path: 'effective_from' }] } })
  })

  test('of several at once each gets a number of its own', async () => {
    await create('20')
    const answers = await Promise.all(['21', '22', '23', '24', '24'].map((amount) => version(amount)))
    expect(answers.map(({ status }) => status < 300)).toEqual([true, true, true, true, true])
    const stored = (await get('/plans/basic/versions')).body.versions as Stored[]
    expect(stored.map(({ version }) => version)).toEqual(stored.map((_, index) => index + 1))
    // Both of the same content may find the other one the latest, or one of another content between them.
    const amounts = stored.map(({ charges: [charge] }) => charge!.price.amount)
    expect(new Set(amounts)).toEqual(new Set(['20', '21', '22', '23', '24']))
    const ids = stored.map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids).toEqual(expect.arrayContaining(answers.map(({ body }) => body.id)))
  })

  test.each<[string, object, string]>([
    ['a date in the past', { effective_from: '2024-01-10T11:59:59Z' }, 'effective_from'],
    ['a date far ahead', { effective_from: '2029-01-10T12:01:00Z' }, 'effective_from'],
    ['another currency', { currency: 'EUR' }, 'currency'],
    ['another interval', { interval: 'year' }, 'interval'],
    ['another length', { every: 2 }, 'every'],
    ['another alignment', { alignment: 'anniversary' }, 'alignment'],
    ['another basis of proration', { proration_basis: 'day' }, 'proration_basis'],
    [
      'a price that cannot be billed',
      { charges: [{ key: 'a', name: 'A', price: { model: 'flat' } }] },
      'charges.0.price.amount',
    ],
    [
      'a meter that is not there',
      { charges: [{ key: 'a', name: 'A', meter: 'none', price: { model: 'per_unit', unit_amount: '1' } }] },
      'charges.0.meter',
    ],
  ])('%s is refused, and nothing is stored', async (_, change, path) => {
    await create('20')
    const answer = await version('21', change)
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ path }] } })
    expect(await versionsOf()).toEqual([[1, null]])
  })

  test('none takes effect before the one before it', async () => {
    await create('20')
    await version('21', { effective_from: '2024-03-01T00:00:00Z' })
    expect(await version('22')).toMatchObject({ status: 400, body: { errors: [{ path: 'effective_from' }] } })
    const same = await version('22', { effective_from: '2024-03-01T00:00:00Z' })
    expect(same.status).toBe(201)
    clock.nowMs = Date.UTC(2024, 2, 1)
    expect((await get('/plans/basic')).body).toEqual(same.body)
  })

  test('a dry run answers what would be stored, refuses what would be refused, and stores nothing', async () => {
    const body = { key: 'basic', ...priced('20') }
    expect(await post('/plans?dry_run=true', body)).toMatchObject({ status: 201, body: { version: 1 } })
    expect((await get('/plans/basic')).status).toBe(404)
    await post('/plans', body)
    expect(await post('/plans?dry_run=true', body)).toMatchObject({ status: 200 })
    expect(await post('/plans/basic/versions?dry_run=true', priced('21'))).toMatchObject({ status: 201 })
    expect(await post('/plans/basic/versions?dry_run=true', priced('21', { currency: 'EUR' }))).toMatchObject({
      status: 400,
    })
    expect(await versionsOf()).toEqual([[1, null]])
    const events = (await get('/billing-events?limit=999')).body.events as object[]
    expect(events).toHaveLength(1)
  })

  test('a period is at most ten years long', async () => {
    expect(await create('20', { interval: 'half_year', every: 20 })).toMatchObject({ status: 201 })
    expect(await post('/plans', { key: 'b', ...priced('20', { interval: 'half_year', every: 21 }) })).toMatchObject({
      status: 400,
      body: { errors: [{ path: 'every' }] },
    })
  })

  test('a plan from before its hash answers the one that is computed', async () => {
    const { body } = await create('20')
    await storeOldPlan()
    const old = await get('/plans/old')
    expect(old.body).toMatchObject({ version: 1, hash: body.hash })
    expect(await post('/plans', { key: 'old', ...priced('20.0') })).toEqual(old)
    expect((await post('/plans', { key: 'old', ...priced('21') })).status).toBe(409)
  })

  test('what is no price is told, however deep it is', async () => {
    await create('20')
    const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`
    for (const [url, price] of [
      ['/plans', '{"model":"flat","amount":DEEP}'],
      ['/plans', '{"model":"flat","amount":"1","more":DEEP}'],
      ['/plans/basic/versions', '{"model":"matrix","dimensions":["a"],"cells":[{"when":{"a":DEEP}}]}'],
    ] as const) {
      const text = JSON.stringify({ ...(url === '/plans' && { key: 'deep' }), ...priced('PRICE') })
      const payload = text.replace('{"model":"flat","amount":"PRICE"}', price.replace('DEEP', deep))
      const headers = { 'x-tenant': String(tenant), 'content-type': 'application/json' }
      const answer = await doors.app.inject({ method: 'POST', url: `/api/v1${url}`, headers, payload })
      expect(answer.statusCode).toBe(400)
      expect(answer.json()).toMatchObject({ errors: [{ path: expect.stringContaining('charges.0.price.') }] })
    }
  })
})

test('a subscription stays on its version, a new one takes the latest, and invoices quote the hash of each', async () => {
  await create('20')
  for (const key of ['ann', 'bob', 'eve', 'zoe', 'mallory']) {
    await post('/customers', { external_key: key, currency: 'USD', subjects: [key] })
  }
  const subscribe = (customer: string, start: string, plan = 'basic') =>
    post('/subscriptions', { external_key: customer, customer, plan, start, end: '2024-02-01T00:00:00Z' })
  expect((await subscribe('ann', '2024-01-01T00:00:00Z')).status).toBe(201)
  await version('31')
  expect((await subscribe('bob', '2024-01-10T12:00:00Z')).status).toBe(201)
  // One that begins before the version takes the one before, though it is created after it.
  expect((await subscribe('eve', '2024-01-01T00:00:00Z')).status).toBe(201)
  expect((await subscribe('ann', '2024-01-01T00:00:00Z')).status).toBe(200)
  await storeOldPlan()
  expect((await subscribe('zoe', '2024-01-01T00:00:00Z', 'old')).status).toBe(201)
  await post('/plans', { key: 'tampered', ...priced('20') })
  expect((await subscribe('mallory', '2024-01-01T00:00:00Z', 'tampered')).status).toBe(201)
  await asOwner(`UPDATE plan_charges SET price = price || '{"amount": "2"}'
    WHERE plan_id = (SELECT id FROM plans WHERE key = 'tampered')`)
  clock.nowMs = Date.UTC(2024, 1, 2)
  const run = await billed()
  // The product itself may not do that: what the plan says is not what its hash says.
  expect(run.parked).toMatchObject([{ reason: expect.stringContaining('another hash') }])
  const invoices = (await get('/invoices')).body.invoices as Record<string, unknown>[]
  const quoted = Object.fromEntries(
    invoices.map((one) => [
      (one.customer as { external_key: string }).external_key,
      [one.plan, one.plan_version, one.total, one.plan_hash],
    ]),
  )
  for (const { plan, plan_version, plan_hash, lines } of invoices) {
    expect(lines).toMatchObject([{ plan, plan_version, plan_hash }])
  }
  const hashOf = async (number: number) => (await get(`/plans/basic?version=${number}`)).body.hash
  expect(quoted).toEqual({
    ann: ['basic', 1, '20.00', await hashOf(1)],
    // 31 × (21 days 12 hours) ÷ 31 days.
    bob: ['basic', 2, '21.50', await hashOf(2)],
    eve: ['basic', 1, '20.00', await hashOf(1)],
    // Its hash is computed, since none is stored.
    zoe: ['old', 1, '20.00', await hashOf(1)],
  })
  expect(await hashOf(1)).not.toBe(await hashOf(2))
})

test('a subscription made before a version keeps its own, though it begins after the date of that version', async () => {
  await create('20')
  await post('/customers', { external_key: 'ann', currency: 'USD', subjects: ['ann'] })
  const body = { external_key: 'before', customer: 'ann', plan: 'basic', start: '2024-03-01T00:00:00Z' }
  expect(await post('/subscriptions', body)).toMatchObject({ status: 201, body: { plan_version: 1 } })
  await version('10', { effective_from: '2024-02-01T00:00:00Z' })
  const after = await post('/subscriptions', { ...body, external_key: 'after' })
  expect(after).toMatchObject({ status: 201, body: { plan_version: 2 } })
  expect(await post('/subscriptions', body)).toMatchObject({ status: 200, body: { plan_version: 1 } })
  clock.nowMs = Date.UTC(2024, 2, 2)
  expect((await get('/subscriptions/before')).body).toMatchObject({ plan_version: 1, pending_plan: null })
  expect((await get('/subscriptions/before/preview')).body).toMatchObject({ total: '20.00' })
})

test('a change to the plan that it is on moves a subscription to the version in effect then', async () => {
  await create('20')
  await post('/customers', { external_key: 'ann', currency: 'USD', subjects: ['ann'] })
  const body = { external_key: 's', customer: 'ann', plan: 'basic', start: '2024-01-01T00:00:00Z' }
  expect((await post('/subscriptions', body)).body).toMatchObject({ plan: 'basic', plan_version: 1 })
  await version('10', { effective_from: '2024-02-01T00:00:00Z' })
  expect((await get('/subscriptions/s')).body).toMatchObject({ plan_version: 1, pending_plan: null })
  const moved = await doors.call(tenant, 'PATCH', '/subscriptions/s', { plan: 'basic', when: 'period_end' })
  expect(moved).toMatchObject({
    status: 200,
    body: {
      plan_version: 1,
      pending_plan: { plan: 'basic', plan_version: 2, at: '2024-02-01T00:00:00.000Z' },
      phases: [{ plan_version: 1 }, { plan_version: 2 }],
    },
  })
  clock.nowMs = Date.UTC(2024, 1, 1)
  expect((await get('/subscriptions/s')).body).toMatchObject({ plan: 'basic', plan_version: 2, pending_plan: null })
})

test('quarters and half years are billed, and a cut period by days', async () => {
  const body = { key: 'basic', ...priced('91', { interval: 'quarter', proration_basis: 'day' }) }
  expect(await post('/plans', body)).toMatchObject({
    status: 201,
    body: { interval: 'quarter', proration_basis: 'day' },
  })
  expect(await post('/plans', { ...body, key: 'twice', every: 2 })).toMatchObject({ status: 201, body: { every: 2 } })
  for (const [key, plan] of [
    ['ann', 'basic'],
    ['bob', 'twice'],
  ] as const) {
    await post('/customers', { external_key: key, currency: 'USD', subjects: [key], timezone: 'America/New_York' })
    const start = '2024-01-31T20:00:00Z'
    expect((await post('/subscriptions', { external_key: key, customer: key, plan, start })).status).toBe(201)
  }
  const preview = async (key: string) => (await get(`/subscriptions/${key}/preview`)).body
  clock.nowMs = Date.UTC(2024, 1, 5)
  // From the 31st of January, which counts whole: 61 of the 91 days of the quarter, and 152 of 182 of the two.
  const [ann, bob] = [await preview('ann'), await preview('bob')]
  expect([ann.period_end, ann.total]).toEqual(['2024-04-01T04:00:00.000Z', '61.00'])
  expect([bob.period_end, bob.total]).toEqual(['2024-07-01T04:00:00.000Z', '76.00'])
  const [line] = ann.lines as { breakdown: object[] }[]
  expect(line!.breakdown).toContainEqual({ type: 'proration', days: 61, of_days: 91, amount: '-30' })
})
