import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createConfigCache } from '../../../ingest/accept/config.ts'
import { createLmdbBillingCache } from '../../../ingest/billing-cache/billing-cache.lmdb.ts'
import { billingReadsDoor } from '../../../ingest/doors/billing-reads.http.ts'
import { openPool } from '../../../ops/access/pool.postgres.ts'
import { buildHost } from '../../../ops/host/server.ts'
import { PERMISSIONS, SCOPED_PERMISSIONS } from '../../../schemas/http/permissions.ts'
import { createCustomer } from '../../support/customers.ts'
import { METERING_NOW, type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { billingCalls, openClinic, subscribe } from './billing-calls.ts'

/** HC-2: what a user may use, and the subscription that it follows from. */
let metering: Metering
let tenant: Tenant
let clinic: string
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  metering.clock.nowMs = METERING_NOW
  tenant = await openClinic(metering, `b-${made++}`)
  clinic = await createCustomer(metering.database.pool, tenant.id, 'clinic-7', ['user-1', 'user-2'])
})

const { use, limit, quota, subscription } = billingCalls(() => tenant)
const onPlan = (plan: string, startAt: string, change = {}) =>
  subscribe(metering, tenant, clinic, plan, startAt, change)

describe('GET /billing/quota/{user_id}', () => {
  test('without a subscription: the limits of the default tier, and what is used of them', async () => {
    await limit('1500')
    await use(59.5)
    const { status, body } = await quota('user-1')
    expect(status).toBe(200)
    expect(body).toMatchObject({ user_id: 'user-1', tier: 'basic', organization_id: 'clinic-7', features: [] })
    expect(body.limits).toEqual([
      {
        ...{ feature: 'minutes', granted_by: 'plan', subject: 'user-1', meter: 'conversation_minutes' },
        ...{ window: 'month', shared_by: 'subject', enforcement: 'hard' },
        ...{ limit: '1500', used: '59.5', remaining: '1440.5', allows: true },
        ...{ starts_at: '2026-11-01T00:00:00.000Z', resets_at: '2026-12-01T00:00:00.000Z' },
      },
    ])
  })

  test('a user whom nobody knows has the default tier and no organization', async () => {
    await limit('1500')
    expect((await quota('new')).body).toMatchObject({
      ...{ user_id: 'new', tier: 'basic', organization_id: null, limits: [{ remaining: '1500' }] },
    })
  })

  test('with a subscription: the tier is its plan, also where no plan limits anything', async () => {
    await onPlan('premium', '2026-11-01')
    expect((await quota('user-1')).body).toMatchObject({ tier: 'premium', limits: [] })
    await limit('1500')
    await limit('5000', {}, 'premium')
    await tenant.call('PUT', '/entitlements/plan/premium/exports', { type: 'boolean', enabled: true })
    expect((await quota('user-1')).body).toMatchObject({
      limits: [{ limit: '5000', granted_by: 'plan' }],
      features: [{ feature: 'exports', granted_by: 'plan', type: 'boolean', enabled: true }],
    })
  })

  test('HC-8: a key with a scope sees its own users; to a user the organization is more than the own', async () => {
    await limit('1500')
    const ofClinic = metering.scopedKey(tenant, `clinic-${made++}`, { customer: clinic })
    const ofUser = metering.scopedKey(tenant, `user-${made++}`, { subjects: ['user-1'] })
    const own = { user_id: 'user-1', tier: 'basic', limits: [{ remaining: '1500' }] }
    expect((await quota('user-1', ofClinic)).body).toMatchObject({ ...own, organization_id: 'clinic-7' })
    expect((await quota('user-1', ofUser)).body).toMatchObject({ ...own, organization_id: null })
    const nobody = (user: string) => {
      return { user_id: user, organization_id: null, tier: 'basic', limits: [], features: [] }
    }
    await onPlan('premium', '2026-11-01')
    expect((await quota('user-2', ofUser)).body).toEqual(nobody('user-2'))
    for (const by of [ofUser, ofClinic]) expect((await quota('foreign', by)).body).toEqual(nobody('foreign'))
  })

  test('needs the permission to read quotas', async () => {
    const others = SCOPED_PERMISSIONS.filter((one) => one !== 'billing:quotas:read')
    const weak = metering.scopedKey(tenant, `weak-${made++}`, 'everything', others)
    expect((await quota('user-1', weak)).status).toBe(403)
  })
})

describe('GET /billing/subscription/{user_id}', () => {
  test('tells the subscription of the user’s organization, its present period, and what it entitles to', async () => {
    const id = await onPlan('premium', '2026-01-15')
    await limit('5000', { per: 'customer', enforcement: 'soft' }, 'premium')
    await tenant.call('PUT', '/entitlements/plan/premium/region', { type: 'static', value: { zone: 'eu' } })
    expect(await subscription('user-1')).toMatchObject({ status: 200 })
    expect((await subscription('user-1')).body).toEqual({
      ...{ user_id: 'user-1', organization_id: 'clinic-7', tier: 'premium' },
      subscription: {
        ...{ id, key: 'on-premium', plan: 'premium', plan_name: 'The premium plan', state: 'active' },
        ...{ started_at: '2026-01-15T00:00:00.000Z', ends_at: null },
        current_period_start: '2026-11-01T00:00:00.000Z',
        current_period_end: '2026-12-01T00:00:00.000Z',
      },
      other_subscriptions: [],
      limits: [
        {
          ...{ feature: 'minutes', granted_by: 'plan', meter: 'conversation_minutes', window: 'month', limit: '5000' },
          ...{ shared_by: 'customer', enforcement: 'soft' },
        },
      ],
      features: [{ feature: 'region', granted_by: 'plan', type: 'static', value: { zone: 'eu' } }],
    })
  })

  test('without one: the default tier and what it entitles to', async () => {
    await limit('1500')
    for (const [user, organization_id] of [
      ['user-1', 'clinic-7'],
      ['new', null],
    ])
      expect((await subscription(user!)).body).toMatchObject({
        ...{ user_id: user, organization_id, tier: 'basic', subscription: null, other_subscriptions: [] },
        limits: [{ feature: 'minutes', limit: '1500' }],
      })
  })

  test('a period from the day of the start, cut by the end', async () => {
    await onPlan('premium', '2026-01-15', { alignment: 'anniversary', endAt: '2026-12-01' })
    expect((await subscription('user-1')).body.subscription).toMatchObject({
      ends_at: '2026-12-01T00:00:00.000Z',
      current_period_start: '2026-11-15T00:00:00.000Z',
      current_period_end: '2026-12-01T00:00:00.000Z',
    })
  })

  test('a period of several intervals', async () => {
    await onPlan('premium', '2026-01-15', { alignment: 'anniversary', interval: 'quarter', every: 2 })
    expect((await subscription('user-1')).body.subscription).toMatchObject({
      current_period_start: '2026-07-15T00:00:00.000Z',
      current_period_end: '2027-01-15T00:00:00.000Z',
    })
  })

  test('one that is over or yet to come does not count; of several the latest is the tier', async () => {
    await onPlan('over', '2026-01-01', { endAt: '2026-11-20T12:00:00Z' })
    await onPlan('to-come', '2026-11-20T12:01:00Z')
    expect((await subscription('user-1')).body).toMatchObject({ tier: 'basic', subscription: null })
    await onPlan('later', '2026-11-01')
    await onPlan('earlier', '2026-02-01')
    expect((await subscription('user-1')).body).toMatchObject({
      ...{ tier: 'later', subscription: { plan: 'later' }, other_subscriptions: [{ plan: 'earlier' }] },
    })
    metering.clock.nowMs += 60_000
    expect((await subscription('user-1')).body.tier).toBe('to-come')
  })

  test('is billing: for whoever may read subscriptions, and for no key with a scope (decision 0014)', async () => {
    const weak = metering.scopedKey(tenant, `weak-${made++}`, 'everything', SCOPED_PERMISSIONS)
    expect((await subscription('user-1', weak)).body.code).toBe('forbidden')
    const scoped = metering.scopedKey(tenant, `scoped-${made++}`, { customer: clinic }, ['billing:subscriptions:read'])
    expect((await subscription('user-1', scoped)).body.code).toBe('out_of_scope')
  })

  test('of another tenant’s user there is nothing (EPIC-5)', async () => {
    await onPlan('premium', '2026-11-01')
    const other = await openClinic(metering, `b-other-${made++}`)
    for (const read of [quota, subscription])
      expect((await read('user-1', other)).body).toMatchObject({ tier: 'basic', organization_id: null })
  })
})

/** HC-5 */
test('while Postgres is away both tell what was last read, and since when; of others they know nothing', async () => {
  await onPlan('premium', '2026-11-01')
  await limit('5000', {}, 'premium')
  const before = await subscription('user-1')
  const [now, logger] = [() => metering.clock.nowMs, pino({ level: 'silent' })]
  const { pool } = metering.database
  const config = createConfigCache({ pool, now, defaultPlan: 'basic' })
  await config.get(tenant.id)
  const away = openPool('postgres://nobody@127.0.0.1:1/nothing', 1, () => undefined)
  const permissions = new Set(PERMISSIONS)
  const caller = { tenantId: tenant.id, tenantSlug: 'b', keyId: 'k', operator: false, permissions }
  const authenticate = async () => ({ ...caller, scope: 'everything' }) as const
  const app = await buildHost({ logger, metrics: new Registry(), authenticate, version: '0' })
  const { quota: counters, lmdb } = metering.log
  billingReadsDoor(app, {
    ...{ pool: away, config, quota: counters, loadCounters: async () => undefined, enforceQuota: true, now, logger },
    ...{ billingCache: createLmdbBillingCache(lmdb.quota, now), defaultPlan: 'basic' },
  })
  const get = async (what: string, user: string) => (await app.inject(`/api/v1/billing/${what}/${user}`)).json()
  await quota('user-1')
  metering.clock.nowMs += 5_000
  const as_of = '2026-11-20T12:00:00.000Z'
  expect(await get('subscription', 'user-1')).toEqual({ ...before.body, as_of })
  expect(await get('quota', 'user-1')).toMatchObject({ tier: 'premium', limits: [{ limit: '5000' }], as_of })
  for (const what of ['subscription', 'quota'])
    expect(await get(what, 'user-2')).toMatchObject({ status: 503, code: 'unavailable' })
  await app.close()
  await away.end()
})
