import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { buildDoors } from '../support/doors.ts'
import { createWorld } from '../support/world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

test('one-time items are put, listed and taken back over their door', async () => {
  const world = await createWorld(database, 'items-door')
  await world.plan()
  await world.subscribe('a')
  const doors = buildDoors(database, { now: world.now, newId: world.newId })
  const call = (method: 'GET' | 'POST' | 'DELETE', url: string, body?: object) =>
    doors.call(world.tenantId, method, url, body)
  const wanted = { external_key: 'setup', customer: 'a', description: 'Setup', quantity: '2', unit_amount: '12.5' }
  const made = await call('POST', '/invoice-items', wanted)
  expect(made).toMatchObject({
    status: 201,
    body: { amount: '25.00', currency: 'USD', state: 'pending', quantity: '2' },
  })
  expect(await call('POST', '/invoice-items', wanted)).toEqual({ status: 200, body: made.body })
  expect((await call('POST', '/invoice-items', { ...wanted, quantity: '3' })).status).toBe(409)
  expect((await call('POST', '/invoice-items', { ...wanted, external_key: 'x', customer: 'nobody' })).status).toBe(404)
  const other = await call('POST', '/invoice-items', { ...wanted, external_key: 'other', subscription: 'a' })
  expect((await call('GET', '/invoice-items?customer=a&state=pending')).body).toEqual({
    items: [made.body, other.body],
    next: null,
  })
  const deleted = { status: 200, body: { ...other.body, state: 'deleted' } }
  expect(await call('DELETE', '/invoice-items/other')).toEqual(deleted)
  expect(await call('DELETE', '/invoice-items/other')).toEqual(deleted)
  expect(await call('GET', '/invoice-items/other')).toEqual(deleted)
  await world.run()
  expect((await call('GET', '/invoice-items/setup')).body).toMatchObject({ state: 'invoiced' })
  expect((await call('GET', '/invoice-items?state=pending')).body).toEqual({ items: [], next: null })
  expect((await call('DELETE', '/invoice-items/setup')).status).toBe(409)
})
