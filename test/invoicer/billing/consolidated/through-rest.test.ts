import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { buildDoors } from '../../support/doors.ts'
import { createWorld, DECEMBER, NOVEMBER, startSealer } from '../../support/world.ts'
import { HELLAS, HOUR_MS } from '../tax/shop.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** HC-13, issue 7: the whole way over the door, from customers to one paid invoice. */
test('over the door: a parent with two children and three subscriptions has one paid invoice of a run', async () => {
  const world = await createWorld(database, 'whole-way')
  world.clock.nowMs = DECEMBER + 2 * HOUR_MS
  const { usage } = world.deps
  const doors = buildDoors(database, { usage, now: world.now, newId: world.newId })
  const sealer = startSealer(database, world.tenantId, usage)
  const call = async (method: 'GET' | 'POST', url: string, body?: object) => {
    const answer = await doors.call(world.tenantId, method, url, body)
    expect([method, url, answer.status, answer.status < 300 ? '' : answer.body]).toEqual([
      method,
      url,
      answer.status,
      '',
    ])
    return answer.body
  }
  try {
    await call('POST', '/legal-entities', HELLAS)
    const price = { model: 'per_unit', unit_amount: '0.01' }
    const charges = [{ key: 'use', name: 'Use', meter: 'context_tokens', price }]
    const plan = { key: 'p', name: 'P', currency: 'USD', interval: 'month', alignment: 'calendar', fees: 'in_arrears' }
    await call('POST', '/plans', { ...plan, charges })
    const customer = (key: string, of: object) =>
      call('POST', '/customers', { external_key: key, currency: 'USD', subjects: [key], ...of })
    await customer('acme', { billing_address: { country: 'GR' }, consolidate: true })
    for (const child of ['north', 'south']) await customer(child, { parent: 'acme', pays: 'parent' })
    for (const [key, tokens] of Object.entries({ acme: '1000', north: '2050', south: '333' })) {
      const start = new Date(NOVEMBER).toISOString()
      await call('POST', '/subscriptions', { external_key: key, customer: key, plan: 'p', start })
      world.use(key, 'context_tokens', tokens, NOVEMBER)
    }
    await call('POST', '/customers/acme/credits', { external_key: 'g', amount: '100.00' })
    const { id } = await call('POST', '/billing-runs', {})
    await vi.waitFor(
      async () => expect(await call('GET', `/billing-runs/${id}`)).toMatchObject({ state: 'completed' }),
      {
        timeout: 60_000,
        interval: 100,
      },
    )
    const { invoices } = await call('GET', `/invoices?billing_run=${id}`)
    expect(invoices).toMatchObject([
      {
        ...{
          number: 'HELLAS-000001',
          state: 'paid',
          customer: { external_key: 'acme' },
          total: '41.95',
          credit: '41.95',
        },
        parts: [{ customer: { external_key: 'acme' } }, { customer: { external_key: 'north' } }, { first_line: 2 }],
      },
    ])
  } finally {
    await sealer.stop()
    await doors.invoicer.stop()
  }
})
