import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { type Answer, buildDoors } from '../support/doors.ts'
import { memoryUsage } from '../support/memory-usage.ts'
import { createWorld, DECEMBER, NOVEMBER, startSealer } from '../support/world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Issue 7: cancel now with credit; billing-rules "Invoices": a negative total becomes customer balance. */
test('a run whose invoices give back more than they bill completes, and the rest becomes balance', async () => {
  const world = await createWorld(database, 'given-back')
  world.clock.nowMs = NOVEMBER
  const sealer = startSealer(database, world.tenantId, memoryUsage(world.events))
  const doors = buildDoors(database, { usage: world.deps.usage, now: world.now, newId: world.newId })
  const call = (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object): Promise<Answer> =>
    doors.call(world.tenantId, method, url, body)
  const run = async () => {
    const { body } = await call('POST', '/billing-runs', {})
    const ended = () => call('GET', `/billing-runs/${body.id}`)
    await expect.poll(async () => (await ended()).body.state, { timeout: 30_000 }).not.toBe('running')
    return (await ended()).body
  }
  await doors.invoicer.start()
  const charges = [{ key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount: '30.00' } as const }]
  await world.plan({ key: 'ahead', fees: 'in_advance', charges })
  await world.subscribe('ann', { plan: 'ahead', endMs: null })
  world.clock.nowMs = NOVEMBER + 2 * 3_600_000
  expect(await run()).toMatchObject({ state: 'completed', invoices_created: 1 })
  // Half of November is left.
  world.clock.nowMs = (NOVEMBER + DECEMBER) / 2
  expect(await call('PATCH', '/subscriptions/ann', { cancel: 'now' })).toMatchObject({ status: 200 })
  world.clock.nowMs += 2 * 3_600_000
  expect(await run()).toMatchObject({ state: 'completed', invoices_created: 1, error: null })
  const { invoices } = (await call('GET', '/invoices?customer=ann')).body as { invoices: object[] }
  expect(invoices).toMatchObject([
    { total: '30.00', state: 'paid' },
    { total: '-15.00', balance: '-15.00', amount_due: '0.00', state: 'paid' },
  ])
  expect((await call('GET', '/customers/ann/balance')).body).toMatchObject({
    balances: [{ currency: 'USD', balance: '15.00' }],
  })
  const metrics = await doors.metrics.metrics()
  expect(metrics).toContain('billing_revenue_total{currency="USD"} 30\n')
  expect(metrics).toContain('billing_revenue_given_back_total{currency="USD"} 15\n')
  await doors.invoicer.stop()
  await sealer.stop()
  await doors.app.close()
})
