import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { buildDoors } from '../../support/doors.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

type Line = { amount: string; tax: { rate_percent: string; amount: string } | null }
type Note = { subtotal: string; tax: string; total: string; lines: { line: number; subtotal: string; tax: string }[] }

/** billing-rules "Usage that comes late": with the price version and tax rate of that period; credit notes with their tax. */
test('late usage is taxed as its period was, and given back with the tax it bore', async () => {
  const world = await createWorld(database, 'late-tax')
  const price = { model: 'per_unit', unit_amount: '0.01' } as const
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price }] })
  const doors = buildDoors(database, { usage: world.deps.usage, now: world.now, newId: world.newId })
  const call = (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object) =>
    doors.call(world.tenantId, method, url, body)
  const registered = { tax_registrations: [{ country: 'GR', number: 'EL123456789' }] }
  const entity = { key: 'hellas', name: 'Hellas', country: 'GR', ...registered }
  expect((await call('POST', '/legal-entities', entity)).status).toBe(201)
  await world.subscribe('a', { endMs: null })
  const moveTo = async (country: string) => {
    expect((await call('PATCH', '/customers/a', { billing_address: { country } })).status).toBe(200)
  }
  const runAt = (atMs: number) => {
    world.clock.nowMs = atMs
    return world.run()
  }
  await moveTo('GR')
  world.use('a', 'context_tokens', '1429', NOVEMBER)
  await runAt(DECEMBER + 2 * HOUR_MS)
  await moveTo('DE')
  world.use('a', 'context_tokens', '300', NOVEMBER, DECEMBER + DAY_MS)
  world.use('a', 'context_tokens', '1000', DECEMBER + DAY_MS)
  await runAt(JANUARY + 2 * HOUR_MS)
  const invoices = (await call('GET', '/invoices')).body.invoices as { id: string; total: string; lines: Line[] }[]
  const taxes = invoices.map(({ total, lines }) => [
    total,
    ...lines.map(({ amount, tax }) => [amount, tax?.rate_percent, tax?.amount]),
  ])
  expect(taxes).toEqual([
    ['17.72', ['14.29', '24', '3.43']],
    ['15.62', ['10.00', '19', '1.90'], ['3.00', '24', '0.72']],
  ])

  world.use('a', 'context_tokens', '-500', NOVEMBER, JANUARY + DAY_MS)
  await runAt(JANUARY + 2 * DAY_MS)
  const notes: string[][] = []
  for (const { id } of invoices) {
    const { credit_notes } = (await call('GET', `/invoices/${id}/credit-notes`)).body as { credit_notes: Note[] }
    notes.push(...credit_notes.map(({ subtotal, tax, total }) => [subtotal, tax, total]))
  }
  expect(notes).toEqual([
    ['2.00', '0.48', '2.48'],
    ['3.00', '0.72', '3.72'],
  ])

  // The rest of the first invoice, by hand: 17.72 come back to the cent, and nothing beyond.
  const give = (key: string, payload: object) =>
    doors.app.inject({
      method: 'POST',
      url: `/api/v1/invoices/${invoices[0]!.id}/credit-notes`,
      headers: { 'x-tenant': String(world.tenantId), 'idempotency-key': key },
      payload,
    })
  expect((await give('one', { reason: 'Sorry', amount: '5.01' })).json()).toMatchObject({
    ...{ number: 'CN-HELLAS-000003', subtotal: '4.04', tax: '0.97', total: '5.01', to_balance: '5.01' },
    lines: [{ line: 0, subtotal: '4.04', tax: '0.97' }],
  })
  const rest = await give('two', { reason: 'Sorry' })
  expect([rest.statusCode, rest.json()]).toMatchObject([201, { subtotal: '8.25', tax: '1.98', total: '10.23' }])
  const again = await give('two', { reason: 'Sorry' })
  expect([again.statusCode, again.json()]).toEqual([200, rest.json()])
  expect((await give('three', { reason: 'Sorry' })).statusCode).toBe(400)
  expect((await give('two', { reason: 'Other' })).statusCode).toBe(409)
  expect((await call('GET', `/invoices/${invoices[0]!.id}`)).body).toMatchObject({
    ...{ total: '17.72', amount_due: '17.72', credited: '17.72', amount_remaining: '0.00', balance: '0.00' },
  })
  expect((await call('GET', '/customers/a/balance')).body).toMatchObject({
    balances: [{ currency: 'USD', balance: '21.44' }],
    entries: [
      { kind: 'credit_note' },
      { kind: 'credit_note' },
      { amount: '5.01' },
      { amount: '10.23', balance: '21.44' },
    ],
    next: null,
  })
})

test('a tax that is inside the price is given back with it, not on top', async () => {
  const world = await createWorld(database, 'late-tax-inside')
  const price = { model: 'per_unit', unit_amount: '0.01' } as const
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price }] })
  const doors = buildDoors(database, { usage: world.deps.usage, now: world.now, newId: world.newId })
  const registrations = [{ country: 'GR', number: 'EL123456789' }]
  const seller = {
    key: 'hellas',
    name: 'Hellas',
    country: 'GR',
    tax_registrations: registrations,
    tax: { amounts: 'inclusive' },
  }
  expect(await doors.call(world.tenantId, 'POST', '/legal-entities', seller)).toMatchObject({ status: 201 })
  await world.subscribe('a')
  await doors.call(world.tenantId, 'PATCH', '/customers/a', { billing_address: { country: 'GR' } })
  world.use('a', 'context_tokens', '1240', NOVEMBER)
  world.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await world.run()
  world.use('a', 'context_tokens', '-620', NOVEMBER, DECEMBER + DAY_MS)
  world.clock.nowMs = DECEMBER + 2 * DAY_MS
  await world.run()
  const [invoice] = await world.invoices()
  expect(invoice).toMatchObject({ totalMinor: 1_240n, taxMinor: 240n, creditedMinor: 620n })
  const answer = await doors.call(world.tenantId, 'GET', `/invoices/${invoice!.id}/credit-notes`)
  expect(answer.body).toMatchObject({ credit_notes: [{ subtotal: '5.00', tax: '1.20', total: '6.20' }] })
})

/** It used to be 112: what another line had taken off the invoice went to the balance without the tax it had borne. */
test('what an invoice cannot give, because a line below 0 lowered it, becomes balance with its tax; notes count per entity', async () => {
  const world = await createWorld(database, 'late-tax-lowered')
  const price = { model: 'per_unit', unit_amount: '0.01' } as const
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price }] })
  const doors = buildDoors(database, { usage: world.deps.usage, now: world.now, newId: world.newId })
  const call = (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object) =>
    doors.call(world.tenantId, method, url, body)
  for (const key of ['hellas', 'attica']) {
    const registered = { country: 'GR', tax_registrations: [{ country: 'GR', number: 'EL123456789' }] }
    await call('POST', '/legal-entities', { key, name: key, ...registered })
  }
  for (const name of ['a', 'b']) {
    await world.subscribe(name)
    await call('PATCH', `/customers/${name}`, { billing_address: { country: 'GR' } })
    world.use(name, 'context_tokens', '10000', NOVEMBER)
    world.use(name, 'context_tokens', '-10000', NOVEMBER, DECEMBER + DAY_MS)
  }
  expect((await call('PATCH', '/customers/b', { legal_entity: 'attica' })).status).toBe(200)
  const gift = { external_key: 'gift', subscription: 'a', description: 'Gift', amount: '-50.00' }
  expect((await call('POST', '/invoice-items', gift)).body).toMatchObject({ state: 'pending' })
  world.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await world.run()
  world.clock.nowMs = DECEMBER + 2 * DAY_MS
  await world.run()
  const invoices = (await call('GET', '/invoices')).body.invoices as { id: string; total: string }[]
  const notes: unknown[] = []
  for (const { id, total } of invoices) {
    const { credit_notes } = (await call('GET', `/invoices/${id}/credit-notes`)).body as {
      credit_notes: (Note & { number: string })[]
    }
    notes.push([total, ...credit_notes.map((one) => `${one.number} ${one.subtotal} ${one.tax}`)])
  }
  expect(notes).toEqual([
    ['62.00', 'CN-HELLAS-000001 50.00 12.00'],
    ['124.00', 'CN-ATTICA-000001 100.00 24.00'],
  ])
  for (const name of ['a', 'b']) {
    const { balances } = (await call('GET', `/customers/${name}/balance`)).body as { balances: object[] }
    expect(balances).toMatchObject([{ balance: '124.00' }])
  }
})
