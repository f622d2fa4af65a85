import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS, HOUR_MS } from '../../agreements/subscriptions/changing-world.ts'
import { buildDoors } from '../../support/doors.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'
import { inGreece, openShop } from '../tax/shop.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

type Body = Record<string, unknown>
type Line = { index: number; plan: string; amount: string; breakdown: Body[]; tax: { amount: string } | null }
type Invoice = { id: string; lines: Line[]; total: string }

const terms = { currency: 'USD', interval: 'month', alignment: 'calendar', fees: 'in_advance' }
const TEAM = {
  ...{ key: 'team', name: 'Team', ...terms },
  charges: [
    {
      ...{ key: 'seats', name: 'Seats', price: { model: 'per_unit', unit_amount: '10.00' } },
      quantity: { default: '1', min: '1', max: '50' },
    },
  ],
}
const SUPPORT = {
  ...{ key: 'support', name: 'Support', kind: 'add_on', ...terms },
  charges: [{ key: 'fee', name: 'Fee', price: { model: 'flat', amount: '20.00' } }],
}

/** A Greek shop with a plan by seats and an add-on, and ann in Greece with 5 seats; it is 1 November. */
async function open(slug: string) {
  const shop = await openShop(database, slug)
  const ok = async (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object) => {
    const answer = await shop.call(method, url, body)
    expect([answer.status < 300, answer.body]).toEqual([true, answer.body])
    return answer.body as Body
  }
  shop.clock.nowMs = NOVEMBER
  expect(await ok('POST', '/plans', TEAM)).toMatchObject({
    kind: 'base',
    charges: [{ meter: null, quantity: { max: '50' } }],
  })
  expect(await ok('POST', '/plans', TEAM)).toMatchObject({ version: 1 })
  expect(await ok('POST', '/plans', SUPPORT)).toMatchObject({ kind: 'add_on' })
  await ok('POST', '/customers', { external_key: 'ann', currency: 'USD', subjects: ['ann'] })
  await ok('PATCH', '/customers/ann', inGreece)
  const subscription = { external_key: 'ann', customer: 'ann', plan: 'team', start: '2023-11-01T00:00:00Z' }
  expect(await ok('POST', '/subscriptions', { ...subscription, quantities: { seats: 5 } })).toMatchObject({
    ...{ plan: 'team', quantities: { seats: '5' } },
    phases: [{ plan: 'team', quantities: { seats: '5' } }],
  })
  return { ...shop, ok }
}

test('seats and add-ons are sold, previewed, changed, invoiced, explained, verified and given back (issue 7)', async () => {
  const shop = await open('seats-rest')
  await shop.run()
  shop.clock.nowMs = NOVEMBER + 15 * DAY_MS
  const seats = { quantities: { seats: 8 } }
  const preview = await shop.ok('POST', '/subscriptions/ann/preview', seats)
  expect(preview).toMatchObject({ change: { credit: '-25.00', charge: '40.00', net: '15.00' }, subtotal: '95.00' })
  expect(await shop.ok('GET', '/subscriptions/ann')).toMatchObject({ quantities: { seats: '5' } })
  const patched = await shop.ok('PATCH', '/subscriptions/ann', { quantities: { seats: '8.0' } })
  expect(patched).toMatchObject({ quantities: { seats: '8' }, phases: [{}, { quantities: { seats: '8' } }] })
  expect(await shop.ok('PATCH', '/subscriptions/ann', seats)).toEqual(patched)
  const addOns = { add_ons: [{ plan: 'support' }] }
  expect(await shop.ok('POST', '/subscriptions/ann/preview', addOns)).toMatchObject({ change: { charge: '10.00' } })
  expect(await shop.ok('PATCH', '/subscriptions/ann', addOns)).toMatchObject({
    ...{ quantities: { seats: '8' }, add_ons: [{ plan: 'support', plan_version: 1, quantity: '1' }] },
  })
  shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await shop.run()
  const { invoices } = (await shop.ok('GET', '/invoices')) as { invoices: Invoice[] }
  const inOrder = [...invoices].sort((a, b) => (a.id < b.id ? -1 : 1))
  for (const { id, lines } of inOrder) {
    expect(await shop.ok('GET', `/invoices/${id}/verification`)).toMatchObject({ equal: true, difference: null })
    for (const { index, amount } of lines) {
      const explained = await shop.ok('GET', `/invoices/${id}/lines/${index}/explain`)
      expect(explained).toMatchObject({ tree: { output: amount } })
    }
  }
  const shown = inOrder.map(({ lines, total }) => [...lines.map(({ plan, amount }) => `${plan} ${amount}`), total])
  expect(shown).toEqual([
    ['team 50.00', '62.00'],
    ['team 15.00', 'support 10.00', 'team 80.00', 'support 20.00', '155.00'],
  ])
  const [first, second] = inOrder
  expect(first!.lines[0]!.breakdown[0]).toMatchObject({ type: 'quantity', quantity: '5', amount: '50.00' })
  expect(second!.lines[0]!.breakdown.filter(({ type }) => type === 'quantity')).toMatchObject([
    { quantity: '5', amount: '25.00', end: '2023-11-16T00:00:00.000Z' },
    { quantity: '8', amount: '40.00', start: '2023-11-16T00:00:00.000Z' },
  ])
  const doors = buildDoors(database, { usage: shop.deps.usage, now: shop.now, newId: shop.newId })
  const note = await doors.app.inject({
    method: 'POST',
    url: `/api/v1/invoices/${second!.id}/credit-notes`,
    headers: { 'x-tenant': String(shop.tenantId), 'idempotency-key': 'back' },
    payload: { reason: 'Too many', lines: [{ line: 2 }] },
  })
  expect([note.statusCode, note.json()]).toMatchObject([201, { lines: [{ line: 2, tax: '19.20' }], total: '99.20' }])
})

test('what is no change of quantities or add-ons says what to send', async () => {
  const shop = await open('seats-refused')
  const refusals: [string, object][] = [
    ['quantities.seats', { quantities: { seats: -1 } }],
    ['quantities.seats', { quantities: { seats: 0.1 + 0.2 } }],
    ['quantities.seats', { quantities: { seats: '51' } }],
    ['quantities.desks', { quantities: { desks: '1' } }],
    ['quantities', { quantities: {} }],
    ['quantities', { quantities: { seats: 1 }, plan: null }],
    ['add_ons', { quantities: { seats: 1 }, add_ons: [] }],
    ['add_ons.0.plan', { add_ons: [{ plan: 'team' }] }],
    ['add_ons.0.quantity', { add_ons: [{ plan: 'support', quantity: 0 }] }],
    ['', { quantities: { seats: 1 }, pause: 'now' }],
  ]
  for (const [path, body] of refusals) {
    expect(await shop.call('PATCH', '/subscriptions/ann', body)).toMatchObject({
      status: 400,
      body: { errors: [{ path }] },
    })
  }
  expect(await shop.call('POST', '/subscriptions/ann/preview', {})).toMatchObject({ status: 400 })
  const charge = (change: object) => ({ ...TEAM, key: 'odd', charges: [{ ...TEAM.charges[0], ...change }] })
  const plans: [string, object][] = [
    ['charges.0.meter', charge({ quantity: undefined })],
    ['charges.0.quantity', charge({ price: { model: 'flat', amount: '1' } })],
    ['charges.0.quantity.default', charge({ quantity: { default: '1', min: '2' } })],
    ['charges.0.quantity.max', charge({ quantity: { default: '1', max: '-2' } })],
    [
      'charges.0.price.commitment_amount',
      charge({ price: { model: 'per_unit', unit_amount: '1', commitment_amount: '5' } }),
    ],
  ]
  for (const [path, body] of plans) {
    expect(await shop.call('POST', '/plans', body)).toMatchObject({ status: 400, body: { errors: [{ path }] } })
  }
  const { key: _, ...version } = SUPPORT
  expect(await shop.call('POST', '/plans/team/versions', version)).toMatchObject({
    body: { errors: [{ path: 'kind' }] },
  })
})
