import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertSpendAlerts } from '../../../invoicer/billing/budgets/spend-alerts.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { buildDoors } from '../support/doors.ts'
import { memoryUsage } from '../support/memory-usage.ts'
import { createWorld, DECEMBER, NOVEMBER, type World } from '../support/world.ts'

const DAY_MS = 86_400_000
const NOW_MS = NOVEMBER + 15 * DAY_MS + 34_500
let database: TestDatabase
let world: World
let other: World
let doors: ReturnType<typeof buildDoors>
let id: string
beforeAll(async () => {
  database = await createTestDatabase()
  world = await createWorld(database, 'one')
  other = await createWorld(database, 'two')
  doors = buildDoors(database, { usage: memoryUsage(world.events), now: () => NOW_MS })
  await doors.app.ready()
  await world.plan()
  id = await world.subscribe('ann', { endMs: null })
  await world.subscribe('past', { startMs: NOVEMBER - 60 * DAY_MS, endMs: NOVEMBER - 30 * DAY_MS })
  world.use('ann', 'context_tokens', '2182292', NOVEMBER)
})
afterAll(async () => {
  await doors.invoicer.stop()
  await doors.app.close()
  await database.drop()
})

const get = (url: string, as = world.tenantId) => doors.call(as, 'GET', url)
const put = (url: string, body: object, as = world.tenantId) => doors.call(as, 'PUT', url, body)
const remove = (url: string, as = world.tenantId) => doors.call(as, 'DELETE', url)

/** Issue 7: preview of the coming invoice at any time. */
describe('GET /subscriptions/{id}/preview', () => {
  test('shows lines, breakdown and totals as an invoice does, and that they are provisional', async () => {
    const { status, body } = await get('/subscriptions/ann/preview')
    expect(status).toBe(200)
    const period = { period_start: '2023-11-01T00:00:00.000Z', period_end: '2023-12-01T00:00:00.000Z' }
    expect(body).toMatchObject({
      ...{ subscription_id: id, customer: { external_key: 'ann' }, plan: 'llm', currency: 'USD', ...period },
      ...{ usage_until: '2023-11-16T00:01:00.000Z', provisional: true },
      ...{ subtotal: '26.55', tax: '0.00', total: '26.55', amount_due: '26.55' },
    })
    expect((body.lines as object[])[1]).toEqual({
      ...{ index: 1, charge: 'context', description: 'Context tokens', meter: 'context_tokens', ...period },
      ...{ plan: 'llm', plan_version: 1, plan_hash: expect.stringMatching(/^[0-9a-f]{64}$/) },
      ...{ quantity: '2182292', events: 1, amount: '6.55' },
      breakdown: [{ type: 'per_unit', quantity: '2182292', unit_amount: '0.000003', amount: '6.546876' }],
      ...{ tax: null, discount: null, attributes: null },
    })
    expect((body.lines as object[])[0]).toMatchObject({ meter: null, quantity: null, events: null, amount: '20.00' })
    expect(await get(`/subscriptions/${id}/preview?at=2023-11-30T23:59:59.999Z`)).toEqual({ status, body })
  })

  test('says where there is none', async () => {
    const answers = await Promise.all(
      ['nobody/preview', 'past/preview', 'ann/preview?at=2023-10-31T23:59:59Z', 'ann/preview?at=soon'].map((path) =>
        get(`/subscriptions/${path}`),
      ),
    )
    expect(answers.map(({ status, body }) => [status, body.code])).toEqual([
      [404, 'not_found'],
      [409, 'illegal_state'],
      [409, 'illegal_state'],
      [400, 'invalid_request'],
    ])
    expect(await get('/subscriptions/ann/preview?at=2099-12-31T23:59:59Z')).toMatchObject({ status: 200 })
    expect(await get('/subscriptions/ann/preview', other.tenantId)).toMatchObject({ status: 404 })
  })
})

/** Issue 6: thresholds on spend. */
describe('/subscriptions/{id}/budget', () => {
  const budget = '/subscriptions/ann/budget'

  test('is set, replaced, read and removed', async () => {
    expect(await get(budget)).toMatchObject({ status: 404, body: { detail: 'This subscription has no budget.' } })
    expect(await remove(budget)).toMatchObject({ status: 404 })
    const first = await put(budget, { amount: '500.00' })
    expect(first).toEqual({
      status: 200,
      body: {
        ...{ subscription_id: id, amount: '500.00', currency: 'USD', thresholds: ['50%', '80%', '100%'] },
        updated_at: new Date(NOW_MS).toISOString(),
      },
    })
    expect(await get(budget)).toEqual(first)
    const second = await put(`/subscriptions/${id}/budget`, {
      amount: '80',
      thresholds: ['080%', '250', '80%', '250.0'],
    })
    expect(second.body).toMatchObject({ amount: '80.00', thresholds: ['80%', '250.00'] })
    expect(await get(budget)).toEqual(second)
    expect(await remove(budget)).toEqual({ status: 200, body: { subscription_id: id, deleted: true } })
    expect(await get(budget)).toMatchObject({ status: 404 })
    const history = (await get('/billing-events')).body.events as { event: string; subscription_id: string }[]
    expect(history.filter(({ event }) => event.startsWith('budget.')).map((event) => event.event)).toEqual([
      ...['budget.set', 'budget.set', 'budget.removed'],
    ])
  })

  test.each([
    ['a fraction of a cent', { amount: '500.001' }, 'amount'],
    ['a negative amount', { amount: '-1.00' }, 'amount'],
    ['an amount beyond what can be stored', { amount: '99999999999999999999' }, 'amount'],
    ['a level of a fraction of a cent', { amount: '1.00', thresholds: ['50%', '0.005'] }, 'thresholds.1'],
  ])('of %s is refused', async (_, body, path) => {
    const answer = await put(budget, body)
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request', errors: [{ path }] } })
    expect(answer.body.errors).toHaveLength(1)
  })

  test.each([
    {},
    { amount: 500 },
    { amount: '500.00', thresholds: [] },
    { amount: '500.00', thresholds: ['half'] },
    { amount: '500.00', thresholds: ['-5'] },
    { amount: '500.00', thresholds: ['50.5%'] },
    { amount: '500.00', thresholds: Array.from({ length: 21 }, (_, n) => `${n}%`) },
    { amount: '500.00', more: true },
  ])('refuses %j', async (body) => {
    expect(await put(budget, body)).toMatchObject({ status: 400 })
  })

  test('of a subscription that is not there is not there either', async () => {
    for (const answer of [
      await put('/subscriptions/nobody/budget', { amount: '1.00' }),
      await get('/subscriptions/nobody/budget'),
      await remove('/subscriptions/nobody/budget'),
    ]) {
      expect(answer).toMatchObject({ status: 404, body: { code: 'not_found' } })
    }
  })
})

describe('GET /spend-alerts', () => {
  beforeAll(async () => {
    const past = (await get('/subscriptions/past')).body.id as string
    const alert = (subscriptionId: string, level: string) => ({
      ...{
        id: world.newId(),
        subscriptionId,
        subscriptionKey: '',
        customerId: '',
        customerKey: '',
        level,
        currency: 'USD',
      },
      ...{
        budgetMinor: 50_000n,
        spentMinor: 41_230n,
        periodStartMs: NOVEMBER,
        periodEndMs: DECEMBER,
        firedAtMs: NOW_MS,
      },
    })
    const alerts = [alert(id, '50%'), alert(past, '50%'), alert(id, '80%')]
    await world.transact(world.tenantId, (tx) => insertSpendAlerts(tx, alerts))
  })
  const levels = (body: Record<string, unknown>) =>
    (body.alerts as { subscription: string; level: string }[]).map(
      ({ subscription, level }) => `${subscription} ${level}`,
    )

  test('lists the newest first, by subscription, in pages', async () => {
    const { body } = await get('/spend-alerts')
    expect(levels(body)).toEqual(['ann 80%', 'past 50%', 'ann 50%'])
    expect(body).toMatchObject({
      alerts: [
        {
          ...{ subscription_id: id, subscription: 'ann', customer: 'ann', level: '80%', currency: 'USD' },
          ...{ budget: '500.00', spent: '412.30', fired_at: new Date(NOW_MS).toISOString() },
          ...{ period_start: '2023-11-01T00:00:00.000Z', period_end: '2023-12-01T00:00:00.000Z' },
        },
        {},
        {},
      ],
      next: null,
    })
    expect(levels((await get('/spend-alerts?subscription=ann')).body)).toEqual(['ann 80%', 'ann 50%'])
    expect(levels((await get(`/spend-alerts?subscription=${id}`)).body)).toEqual(['ann 80%', 'ann 50%'])
    expect(levels((await get('/spend-alerts?subscription=nobody')).body)).toEqual([])
    const first = await get('/spend-alerts?limit=2')
    expect(levels(first.body)).toEqual(['ann 80%', 'past 50%'])
    expect(levels((await get(`/spend-alerts?limit=2&after=${first.body.next}`)).body)).toEqual(['ann 50%'])
  })
})

/** EPIC-5. That keys with a scope are refused at these doors (decision 0014) is tested on all routes in test/e2e. */
describe('tenants', () => {
  const inside = (of: World, sql: string, values: unknown[] = []) =>
    of.transact(of.tenantId, (tx) => tx.query(sql, values))

  test('never see or change budgets and alerts of each other', async () => {
    await put('/subscriptions/ann/budget', { amount: '500.00' })
    const foreign = [
      await get('/subscriptions/ann/budget', other.tenantId),
      await get(`/subscriptions/${id}/budget`, other.tenantId),
      await put(`/subscriptions/${id}/budget`, { amount: '1.00' }, other.tenantId),
      await remove(`/subscriptions/${id}/budget`, other.tenantId),
    ]
    expect(foreign.map(({ status }) => status)).toEqual([404, 404, 404, 404])
    expect((await get('/spend-alerts', other.tenantId)).body).toEqual({ alerts: [], next: null })
    expect((await get(`/spend-alerts?subscription=${id}`, other.tenantId)).body).toEqual({ alerts: [], next: null })
    expect(await get('/subscriptions/ann/budget')).toMatchObject({ status: 200, body: { amount: '500.00' } })
  })

  test.each(['subscription_budgets', 'spend_alerts'])('have their own rows of %s', async (table) => {
    const { rows } = await inside(world, `SELECT to_jsonb(t) AS row FROM ${table} t LIMIT 1`)
    expect(rows).toHaveLength(1)
    expect((await inside(other, `SELECT tenant_id FROM ${table}`)).rows).toEqual([])
    expect((await database.pool.query(`SELECT tenant_id FROM ${table}`)).rows).toEqual([])
    const steal = `INSERT INTO ${table} SELECT * FROM jsonb_populate_record(NULL::${table}, $1)`
    await expect(inside(other, steal, [JSON.stringify(rows[0].row)])).rejects.toThrow('row-level security')
    const cross = { ...rows[0].row, tenant_id: other.tenantId }
    await expect(inside(other, steal, [JSON.stringify(cross)])).rejects.toThrow('foreign key')
  })

  test('keep what was told: alerts are append-only', async () => {
    await expect(inside(world, 'DELETE FROM spend_alerts')).rejects.toThrow('permission denied')
    await expect(inside(world, "UPDATE spend_alerts SET level = '1%'")).rejects.toThrow('permission denied')
  })
})
