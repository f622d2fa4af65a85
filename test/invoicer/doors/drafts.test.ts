import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readSubscriptions } from '../../../ingest/entitlements/entitlements.postgres.ts'
import { CHANGES, STATES, stateAfter, TRANSITIONS } from '../../../invoicer/agreements/subscriptions/lifecycle.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { type Answer, buildDoors } from '../support/doors.ts'
import { createWorld, DECEMBER, NOVEMBER, type World } from '../support/world.ts'

const HOUR_MS = 3_600_000
let database: TestDatabase
let world: World
let doors: ReturnType<typeof buildDoors>
beforeAll(async () => {
  database = await createTestDatabase()
  world = await createWorld(database, 'drafts')
  world.clock.nowMs = NOVEMBER
  doors = buildDoors(database, { usage: world.deps.usage, now: world.now, newId: world.newId })
  await doors.app.ready()
  const per = (amount: string) => ({ model: 'per_unit', unit_amount: amount }) as const
  for (const [key, amount] of [['small', '1'] as const, ['large', '2'] as const]) {
    await world.plan({ key, charges: [{ key: 'use', name: key, meter: 'context_tokens', price: per(amount) }] })
  }
})
afterAll(async () => {
  await doors.invoicer.stop()
  await doors.app.close()
  await database.drop()
})

const call = (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object): Promise<Answer> =>
  doors.call(world.tenantId, method, url, body)
/** A customer and a draft, both of the name. */
async function draft(name: string, content: object = { plan: 'small' }): Promise<Answer> {
  await call('POST', '/customers', { external_key: name, currency: 'USD', subjects: [name] })
  return call('POST', '/subscriptions', { external_key: name, customer: name, draft: true, ...content })
}
const inForce = async () =>
  (await world.transact(world.tenantId, (tx) => readSubscriptions(tx, new Date(world.clock.nowMs)))).length
async function invoicesOf(name: string) {
  const { body } = await call('GET', `/invoices?customer=${name}`)
  return (body.invoices as { total: string; period_start: string }[]).map(({ total, period_start: at }) => [at, total])
}

describe('a subscription that is a draft (EPIC-2)', () => {
  test('is kept as it was asked for, and nothing of it is served, billed or counted', async () => {
    const [served, created] = [await inForce(), await draft('quiet', { plan: 'small', start: '2023-10-01T00:00:00Z' })]
    expect(created).toMatchObject({ status: 201, body: { external_key: 'quiet', state: 'draft' } })
    const { id } = created.body
    const again = await draft('quiet', { plan: 'small', start: '2023-10-01T00:00:00Z' })
    expect(again).toMatchObject({ status: 200, body: { id } })
    expect(await draft('quiet', { plan: 'large' })).toMatchObject({ status: 409 })
    expect(await call('GET', '/subscriptions/quiet')).toMatchObject({ status: 200, body: { id, state: 'draft' } })
    expect((await call('GET', '/subscription-drafts?customer=quiet')).body.drafts).toMatchObject([{ id }])
    // Another one of the same meter and time is no conflict.
    const other = { external_key: 'other', customer: 'quiet', plan: 'large', start: '2023-11-01T00:00:00Z' }
    expect(await call('POST', '/subscriptions', other)).toMatchObject({ status: 201 })
    expect(await inForce()).toBe(served + 1)
    await call('PATCH', '/subscriptions/other', { cancel: 'now' })
    await world.run()
    expect(await invoicesOf('quiet')).toEqual([])
    expect(await inForce()).toBe(served)
  })

  test('is changed, activated from now on with the id that it has, and billed from there', async () => {
    const { id } = (await draft('bill')).body
    const revised = await call('PATCH', '/subscriptions/bill/draft', { plan: 'large', trial_days: 3 })
    expect(revised.body).toMatchObject({ id, state: 'draft', request: { plan: 'large', trial_days: 3 } })
    const without = await call('PATCH', `/subscriptions/${id}/draft`, { trial_days: null })
    expect(without.body.request).toEqual({ plan: 'large' })
    world.clock.nowMs = NOVEMBER + 24 * HOUR_MS
    world.use('bill', 'context_tokens', '5', NOVEMBER + HOUR_MS)
    world.use('bill', 'context_tokens', '7', NOVEMBER + 30 * HOUR_MS)
    const active = await call('POST', '/subscriptions/bill/activate', {})
    const start = '2023-11-02T00:00:00.000Z'
    expect(active).toMatchObject({ status: 201, body: { id, state: 'active', plan: 'large', start } })
    const again = await call('POST', '/subscriptions/bill/activate', {})
    expect(again).toMatchObject({ status: 200, body: { id, start } })
    expect((await call('GET', '/subscription-drafts?customer=bill')).body.drafts).toEqual([])
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await world.run()
    expect(await invoicesOf('bill')).toEqual([[start, '14.00']])
    world.clock.nowMs = NOVEMBER + 24 * HOUR_MS
  })

  test('is activated from a given time on, and not where something else has its meter', async () => {
    await draft('late')
    const start = '2023-12-01T00:00:00Z'
    await call('POST', '/subscriptions', { external_key: 'first', customer: 'late', plan: 'large', start })
    const refused = await call('POST', '/subscriptions/late/activate', { start })
    expect(refused).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect((await call('GET', '/subscriptions/late')).body.state).toBe('draft')
    await call('PATCH', '/subscriptions/first', { cancel: 'now' })
    const active = await call('POST', '/subscriptions/late/activate', { start })
    expect(active).toMatchObject({ status: 201, body: { start: '2023-12-01T00:00:00.000Z' } })
  })

  test('is discarded for good, and its key is free for a subscription', async () => {
    await draft('gone')
    expect(await call('POST', '/subscriptions/gone/discard', {})).toMatchObject({
      status: 200,
      body: { state: 'ended' },
    })
    expect(await call('POST', '/subscriptions/gone/discard', {})).toMatchObject({
      status: 200,
      body: { state: 'ended' },
    })
    for (const [method, url] of [['PATCH', 'draft'] as const, ['POST', 'activate'] as const]) {
      const refused = await call(method, `/subscriptions/gone/${url}`, {})
      expect(refused).toMatchObject({ status: 409, body: { code: 'illegal_state' } })
    }
    const start = '2023-11-01T00:00:00Z'
    const taken = { external_key: 'gone', customer: 'gone', plan: 'small', start }
    expect(await call('POST', '/subscriptions', taken)).toMatchObject({ status: 201 })
    expect((await call('GET', '/subscriptions/gone')).body.state).toBe('active')
  })

  test('is discarded, and its key is free for another draft, which is the one that is meant from then on', async () => {
    const first = (await draft('anew')).body.id
    expect((await call('POST', '/subscriptions/anew/discard', {})).status).toBe(200)
    const second = await draft('anew')
    expect(second).toMatchObject({ status: 201, body: { state: 'draft' } })
    expect(second.body.id).not.toBe(first)
    expect(await draft('anew')).toMatchObject({ status: 200, body: { id: second.body.id } })
    expect((await call('GET', '/subscriptions/anew')).body).toMatchObject({ id: second.body.id, state: 'draft' })
    expect((await call('GET', `/subscriptions/${first}`)).body).toMatchObject({ id: first, state: 'ended' })
    const active = await call('POST', '/subscriptions/anew/activate', {})
    expect(active).toMatchObject({ status: 201, body: { id: second.body.id, state: 'active' } })
  })

  test('is answered as it was asked for, also once it is activated from another start', async () => {
    const { id } = (await draft('twice')).body
    const start = '2023-11-20T00:00:00Z'
    expect((await call('POST', '/subscriptions/twice/activate', { start })).status).toBe(201)
    expect(await draft('twice')).toMatchObject({ status: 200, body: { id } })
  })

  test('keeps its key from others, and needs a customer who is there', async () => {
    await draft('own')
    const start = '2023-11-01T00:00:00Z'
    const same = { external_key: 'own', customer: 'own', plan: 'small', start }
    expect(await call('POST', '/subscriptions', same)).toMatchObject({ status: 409 })
    expect(await call('POST', '/subscriptions', { ...same, customer: 'nobody', draft: true })).toMatchObject({
      status: 400,
    })
    const { draft: _, ...rest } = { ...same, draft: false, start: undefined }
    expect(await call('POST', '/subscriptions', { ...rest, external_key: 'fresh' })).toMatchObject({ status: 400 })
  })

  test('refuses whatever changes a subscription, and stays as it is', async () => {
    const before = (await draft('still')).body
    for (const body of [{ plan: 'large' }, { plan: null }, { pause: 'now' }, { pause: null }, { resume: 'now' }]) {
      const refused = await call('PATCH', '/subscriptions/still', body)
      expect([body, refused.status, refused.body.code]).toEqual([body, 409, 'illegal_state'])
    }
    for (const body of [{ cancel: 'now' }, { cancel: 'period_end' }, { cancel: null }]) {
      const refused = await call('PATCH', '/subscriptions/still', body)
      expect([body, refused.status, refused.body.code]).toEqual([body, 409, 'illegal_state'])
    }
    expect((await call('GET', '/subscriptions/still')).body).toEqual(before)
  })

  test.each(STATES.filter((state) => state !== 'draft'))('is what %s never becomes again', (state) => {
    for (const change of CHANGES) expect(TRANSITIONS[state][change]).not.toBe('draft')
    for (const change of ['activate', 'revise', 'discard'] as const) {
      expect(() => stateAfter(state, change)).toThrow(`The subscription is ${state}. Only a draft`)
    }
  })
})

test('what is no draft is not changed as one', async () => {
  await call('POST', '/customers', { external_key: 'real', currency: 'USD', subjects: ['real'] })
  const start = '2023-11-01T00:00:00Z'
  await call('POST', '/subscriptions', { external_key: 'real', customer: 'real', plan: 'small', start })
  expect(await call('POST', '/subscriptions/real/discard', {})).toMatchObject({ status: 409 })
  expect(await call('POST', '/subscriptions/nobody/activate', {})).toMatchObject({ status: 404 })
})
