import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertCreditAlerts } from '../../../invoicer/collection/credits/credit-alerts.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { buildDoors } from '../support/doors.ts'
import { createWorld, NOVEMBER, type World } from '../support/world.ts'

const NOW_MS = NOVEMBER + 15 * 86_400_000 + 34_500
let database: TestDatabase
let world: World
let other: World
let doors: ReturnType<typeof buildDoors>
const ids = new Map<string, string>()
beforeAll(async () => {
  database = await createTestDatabase()
  world = await createWorld(database, 'one')
  other = await createWorld(database, 'two')
  doors = buildDoors(database, { now: () => NOW_MS })
  await doors.app.ready()
  for (const name of ['ann', 'bob', 'yen']) {
    const currency = name === 'yen' ? 'JPY' : 'USD'
    const { body } = await doors.call(world.tenantId, 'POST', '/customers', {
      external_key: name,
      currency,
      subjects: [],
    })
    ids.set(name, String(body.id))
  }
})
afterAll(async () => {
  await doors.invoicer.stop()
  await doors.app.close()
  await database.drop()
})

const get = (url: string, as = world.tenantId) => doors.call(as, 'GET', url)
const put = (url: string, body: object, as = world.tenantId) => doors.call(as, 'PUT', url, body)
const give = (customer: string, external_key: string) =>
  doors.call(world.tenantId, 'POST', `/customers/${customer}/credits`, { external_key, amount: '39.00' })

/** Issue 6: thresholds on prepaid credit. */
describe('/customers/{id}/credit-thresholds', () => {
  const url = '/customers/ann/credit-thresholds'
  const defaults = { used: ['50%', '80%', '100%'], remaining: [] }

  test('come with the first credit, are set, replaced and read, and stay with the next credit', async () => {
    const shared = { customer_id: ids.get('ann'), currency: 'USD' }
    expect(await get(url)).toEqual({ status: 200, body: { ...shared, ...defaults, updated_at: null } })
    await give('ann', 'first')
    const updated_at = new Date(NOW_MS).toISOString()
    expect((await get(url)).body).toEqual({ ...shared, ...defaults, updated_at })
    const answer = await put(`/customers/${ids.get('ann')}/credit-thresholds`, {
      ...{ used: ['080%', '100%', '80%'], remaining: ['10', '10.0', '0'] },
    })
    const set = { ...shared, used: ['80%', '100%'], remaining: ['10.00', '0.00'], updated_at }
    expect(answer).toEqual({ status: 200, body: set })
    await give('ann', 'second')
    expect(await get(url)).toEqual(answer)
    const silent = await put(url, { used: [], remaining: [] })
    expect(silent).toMatchObject({ status: 200, body: { used: [], remaining: [] } })
    expect(await get(url)).toEqual(silent)
    const history = (await get('/billing-events?customer=ann')).body.events as { event: string; data: object }[]
    expect(history.filter(({ event }) => event === 'credit.thresholds_set').map(({ data }) => data)).toEqual([
      { used: ['80%', '100%'], remaining: ['10.00', '0.00'] },
      { used: [], remaining: [] },
    ])
  })

  test('set before the first credit are not changed by it', async () => {
    await put('/customers/bob/credit-thresholds', { used: ['90%'], remaining: [] })
    await give('bob', 'of-bob')
    expect((await get('/customers/bob/credit-thresholds')).body).toMatchObject({ used: ['90%'], remaining: [] })
  })

  test('are amounts of the customer’s currency', async () => {
    const refused = await put('/customers/yen/credit-thresholds', { used: [], remaining: ['500', '0.5', '0.1'] })
    expect(refused).toMatchObject({
      ...{ status: 400, body: { code: 'invalid_request' } },
      body: { errors: [{ path: 'remaining.1' }, { path: 'remaining.2' }] },
    })
    expect(await put('/customers/yen/credit-thresholds', { used: [], remaining: ['500'] })).toMatchObject({
      ...{ status: 200, body: { currency: 'JPY', remaining: ['500'] } },
    })
  })

  test.each([
    {},
    { used: ['50%'] },
    { remaining: ['10.00'] },
    { used: ['0%'], remaining: [] },
    { used: ['000%'], remaining: [] },
    { used: ['101%'], remaining: [] },
    { used: ['50'], remaining: [] },
    { used: ['50.5%'], remaining: [] },
    { used: [], remaining: ['50%'] },
    { used: [], remaining: ['-1.00'] },
    { used: [], remaining: [10] },
    { used: Array.from({ length: 21 }, (_, n) => `${n + 1}%`), remaining: [] },
    { used: [], remaining: [], more: true },
  ])('refuses %j', async (body) => {
    expect(await put(url, body)).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
  })

  test('of a customer that is not there are not there either', async () => {
    const nobody = '/customers/nobody/credit-thresholds'
    for (const answer of [await get(nobody), await put(nobody, { used: [], remaining: [] })]) {
      expect(answer).toMatchObject({ status: 404, body: { code: 'not_found' } })
    }
  })
})

describe('GET /credit-alerts', () => {
  beforeAll(async () => {
    const grantOf = async (name: string) =>
      ((await get(`/customers/${name}/credits`)).body.credits as { id: string }[]).at(-1)!.id
    const alert = async (name: string, level: string) => ({
      ...{ id: world.newId(), customerId: ids.get(name)!, customerKey: '', grantId: await grantOf(name), level },
      ...{ baseMinor: 3_900n, usedMinor: 3_150n, availableMinor: 750n, currency: 'USD', firedAtMs: NOW_MS },
    })
    const alerts = [await alert('ann', '80%'), await alert('bob', '80%'), await alert('ann', '10.00 left')]
    await world.transact(world.tenantId, (tx) => insertCreditAlerts(tx, alerts))
  })
  const levels = (body: Record<string, unknown>) =>
    (body.alerts as { customer: string; level: string }[]).map(({ customer, level }) => `${customer} ${level}`)

  test('lists the newest first, by customer, in pages', async () => {
    const { body } = await get('/credit-alerts')
    expect(levels(body)).toEqual(['ann 10.00 left', 'bob 80%', 'ann 80%'])
    expect((body.alerts as object[])[0]).toEqual({
      ...{ id: expect.any(String), customer: 'ann', level: '10.00 left', currency: 'USD' },
      ...{ base: '39.00', used: '31.50', available: '7.50', fired_at: new Date(NOW_MS).toISOString() },
    })
    expect(levels((await get('/credit-alerts?customer=ann')).body)).toEqual(['ann 10.00 left', 'ann 80%'])
    expect(levels((await get(`/credit-alerts?customer=${ids.get('bob')}`)).body)).toEqual(['bob 80%'])
    expect(levels((await get('/credit-alerts?customer=nobody')).body)).toEqual([])
    const first = await get('/credit-alerts?limit=2')
    expect(levels(first.body)).toEqual(['ann 10.00 left', 'bob 80%'])
    expect(levels((await get(`/credit-alerts?limit=2&after=${first.body.next}`)).body)).toEqual(['ann 80%'])
  })
})

/** EPIC-5. That keys with a scope are refused at these doors (decision 0014) is tested on all routes in test/e2e. */
describe('tenants', () => {
  const inside = (of: World, sql: string, values: unknown[] = []) =>
    of.transact(of.tenantId, (tx) => tx.query(sql, values))

  test('never see or change thresholds and alerts of each other', async () => {
    const before = await get('/customers/bob/credit-thresholds')
    for (const customer of ['bob', ids.get('bob')]) {
      const url = `/customers/${customer}/credit-thresholds`
      expect(await get(url, other.tenantId)).toMatchObject({ status: 404 })
      expect(await put(url, { used: [], remaining: [] }, other.tenantId)).toMatchObject({ status: 404 })
      expect((await get(`/credit-alerts?customer=${customer}`, other.tenantId)).body.alerts).toEqual([])
    }
    expect((await get('/credit-alerts', other.tenantId)).body).toEqual({ alerts: [], next: null })
    expect(await get('/customers/bob/credit-thresholds')).toEqual(before)
  })

  test.each(['credit_thresholds', 'credit_alerts'])('have their own rows of %s', async (table) => {
    const { rows } = await inside(world, `SELECT to_jsonb(t) AS row FROM ${table} t LIMIT 1`)
    expect(rows).toHaveLength(1)
    expect((await inside(other, `SELECT tenant_id FROM ${table}`)).rows).toEqual([])
    expect((await database.pool.query(`SELECT tenant_id FROM ${table}`)).rows).toEqual([])
    const steal = `INSERT INTO ${table} SELECT * FROM jsonb_populate_record(NULL::${table}, $1)`
    await expect(inside(other, steal, [JSON.stringify(rows[0].row)])).rejects.toThrow('row-level security')
    const cross = { ...rows[0].row, tenant_id: other.tenantId }
    await expect(inside(other, steal, [JSON.stringify(cross)])).rejects.toThrow('foreign key')
  })

  test('keep what was told: alerts are append-only, and thresholds are not deleted', async () => {
    await expect(inside(world, 'DELETE FROM credit_alerts')).rejects.toThrow('permission denied')
    await expect(inside(world, "UPDATE credit_alerts SET level = '1%'")).rejects.toThrow('permission denied')
    await expect(inside(world, 'DELETE FROM credit_thresholds')).rejects.toThrow('permission denied')
  })
})
