import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { buildDoors } from '../support/doors.ts'

let database: TestDatabase
let doors: ReturnType<typeof buildDoors>
let tenant: number
const clock = { nowMs: Date.UTC(2024, 3, 2) }
beforeAll(async () => {
  database = await createTestDatabase()
  doors = buildDoors(database, { now: () => clock.nowMs })
  await doors.app.ready()
  tenant = await database.createTenant('one')
  for (const [key, amount] of [['small', '5.00'] as const, ['large', '20.00'] as const]) {
    const charges = [{ key: 'base', name: 'Base', price: { model: 'flat', amount } }]
    const plan = {
      key,
      name: key,
      currency: 'USD',
      interval: 'month',
      alignment: 'calendar',
      fees: 'in_arrears',
      charges,
    }
    expect(await doors.call(tenant, 'POST', '/plans', plan)).toMatchObject({ status: 201 })
  }
})
afterAll(async () => {
  await doors.invoicer.stop()
  await doors.app.close()
  await database.drop()
})

const get = (url: string) => doors.call(tenant, 'GET', url)
const patch = async (name: string, payload: object, key?: string) => {
  const headers = { 'x-tenant': String(tenant), ...(key === undefined ? {} : { 'idempotency-key': key }) }
  const response = await doors.app.inject({ method: 'PATCH', url: `/api/v1/subscriptions/${name}`, headers, payload })
  return { status: response.statusCode, body: response.json() }
}
const subscribe = async (name: string, change: object = {}) => {
  await doors.call(tenant, 'POST', '/customers', { external_key: name, currency: 'USD', subjects: [name] })
  const body = { external_key: name, customer: name, plan: 'small', start: '2024-04-01T00:00:00Z', ...change }
  return doors.call(tenant, 'POST', '/subscriptions', body)
}
const PHASE = {
  start: '2024-04-01T00:00:00.000Z',
  plan: 'small',
  plan_version: 1,
  kind: 'active',
  billed: true,
  negotiated: false,
}

describe('PATCH /subscriptions/{id} (TCP-2)', () => {
  test('changes the plan as its preview says; the same key again is answered the same', async () => {
    await subscribe('up')
    const preview = await get('/subscriptions/up/preview?plan=large')
    expect(preview).toMatchObject({
      status: 200,
      body: {
        plan: 'large',
        change: { plan: 'large', at: '2024-04-02T00:00:00.000Z', credit: '-4.83', charge: '19.33', net: '14.50' },
        lines: [
          { charge: 'base', plan: 'small', plan_version: 1, amount: '0.17', period_end: '2024-04-02T00:00:00.000Z' },
          { charge: 'base', plan: 'large', plan_version: 1, amount: '19.33', period_start: '2024-04-02T00:00:00.000Z' },
        ],
        total: '19.50',
      },
    })
    const changed = await patch('up', { plan: 'large' }, 'once')
    expect(changed).toMatchObject({
      status: 200,
      body: { plan: 'large', state: 'active', trial_end: null, pending_plan: null },
    })
    expect(changed.body.phases).toEqual([PHASE, { ...PHASE, start: '2024-04-02T00:00:00.000Z', plan: 'large' }])
    const waiting = await patch('up', { plan: 'small' })
    expect(waiting.body).toMatchObject({
      plan: 'large',
      pending_plan: { plan: 'small', at: '2024-05-01T00:00:00.000Z' },
    })
    expect(await patch('up', { plan: 'large' }, 'once')).toEqual(changed)
    expect(await get('/subscriptions/up')).toEqual(waiting)
    expect(await patch('up', { plan: null })).toMatchObject({ body: { plan: 'large', pending_plan: null } })
    expect(await get('/subscriptions/up/preview')).toMatchObject({ body: { change: null, total: '19.50' } })
  })

  test('announces nothing that would begin behind its end', async () => {
    await subscribe('ends', { plan: 'large' })
    const at = '2024-05-01T00:00:00.000Z'
    expect(await patch('ends', { plan: 'small' })).toMatchObject({ body: { pending_plan: { at } } })
    const cancelled = await patch('ends', { cancel: 'period_end' })
    expect(cancelled).toMatchObject({ status: 200, body: { end: at, pending_plan: null } })
    expect(cancelled.body.phases).toEqual([{ ...PHASE, plan: 'large' }])
    expect(await patch('ends', { cancel: null })).toMatchObject({ body: { end: null, pending_plan: { at } } })
    await subscribe('tried', { trial_days: 10 })
    expect(await patch('tried', { cancel: 'now' })).toMatchObject({
      body: { state: 'cancelled', trial_end: '2024-04-02T00:00:00.000Z', end: '2024-04-02T00:00:00.000Z' },
    })
    // Of a trial, the end of what runs is its own.
    await subscribe('free', { trial_days: 10 })
    const free = await patch('free', { cancel: 'period_end' })
    expect(free).toMatchObject({
      body: { trial_end: '2024-04-11T00:00:00.000Z', end: '2024-04-11T00:00:00.000Z', phases: [{ kind: 'trial' }] },
    })
    expect(await patch('free', { cancel: 'period_end' })).toEqual(free)
    expect(await patch('free', { cancel: null })).toMatchObject({ body: { state: 'trialing', end: null } })
  })

  test('pauses, resumes and cancels', async () => {
    await subscribe('rests')
    expect(await patch('rests', { pause: '2024-04-10T00:00:30Z' })).toMatchObject({ body: { state: 'active' } })
    const paused = await patch('rests', { pause: 'now', bill: true })
    expect(paused).toMatchObject({ status: 200, body: { state: 'paused' } })
    expect(paused.body.phases).toEqual([PHASE, { ...PHASE, start: '2024-04-02T00:00:00.000Z', kind: 'paused' }])
    expect(await patch('rests', { plan: 'large' })).toMatchObject({ status: 409, body: { code: 'illegal_state' } })
    const resumed = await patch('rests', { resume: 'now' })
    expect(resumed).toMatchObject({ status: 200, body: { state: 'active' } })
    // What goes on already is as it shall be; but not where it is to be paused.
    expect(await patch('rests', { resume: 'now' })).toEqual(resumed)
    await patch('rests', { pause: 'period_end' })
    expect(await patch('rests', { resume: 'now' })).toMatchObject({ status: 409, body: { code: 'illegal_state' } })
    expect(await patch('rests', { cancel: 'period_end' })).toMatchObject({ body: { state: 'cancelled' } })
    expect(await patch('rests', { pause: 'now' })).toMatchObject({ status: 409, body: { code: 'illegal_state' } })
  })

  test.each([
    ['', {}],
    ['', { plan: 'large', cancel: 'now' }],
    ['when', { cancel: 'now', when: 'now' }],
    ['when', { plan: null, when: 'now' }],
    ['bill', { resume: 'now', bill: true }],
    ['pause', { pause: '2024-04-01T00:00:00Z' }],
    ['pause', { pause: '2024-12-31T23:59:60Z' }],
    ['plan', { plan: 'none' }],
  ])('refuses what says too little or too much (%s)', async (path, body) => {
    await subscribe('odd')
    expect(await patch('odd', body)).toMatchObject({
      status: 400,
      body: { code: 'invalid_request', errors: [{ path }] },
    })
  })

  test('a trial is shown until it ends, in days or as a time', async () => {
    const trial = await subscribe('tries', { trial_days: 10 })
    expect(trial).toMatchObject({ status: 201, body: { state: 'trialing', trial_end: '2024-04-11T00:00:00.000Z' } })
    expect(await subscribe('tries', { trial_end: '2024-04-11T00:00:59Z' })).toEqual({ ...trial, status: 200 })
    expect(await subscribe('both', { trial_days: 1, trial_end: '2024-04-11T00:00:00Z' })).toMatchObject({ status: 400 })
    expect(await subscribe('none', { trial_end: '2024-04-01T00:00:00Z' })).toMatchObject({
      status: 400,
      body: { errors: [{ path: 'trial_end' }] },
    })
    const short = { trial_end: '2024-04-20T00:00:00Z', end: '2024-04-19T00:00:00Z' }
    expect(await subscribe('short', short)).toMatchObject({ status: 400, body: { errors: [{ path: 'trial_end' }] } })
    clock.nowMs = Date.UTC(2024, 3, 11)
    expect(await get('/subscriptions/tries')).toMatchObject({ body: { state: 'active' } })
  })
})
