import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Problem } from '../../../schemas/http/problem.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import {
  cloudEvent,
  type Json,
  METERING_NOW,
  type Metering,
  openMetering,
  type Tenant,
} from '../../support/metering.ts'
import { openQuotaTenant, quotaCalls } from './quota-calls.ts'

let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  metering.clock.nowMs = METERING_NOW
  tenant = await openQuotaTenant(metering, `t-${made++}`)
})

const calls = quotaCalls(() => tenant)
const put = (path: string, body: object, by = tenant) => by.call('PUT', `/entitlements/${path}`, body)
const metered = (limit: string, change: object = {}) => {
  return { type: 'metered', meter: 'tokens', limit, window: 'month', ...change }
}
const limitsOf = async (subject: string) => (await tenant.call('GET', `/quota/${subject}`)).body.limits as Json[]

/** A customer with subjects, and a subscription to a plan since January. */
async function subscribe(key: string, subjects: readonly string[], plan?: string): Promise<void> {
  const [customerId, planId] = [randomUUID(), randomUUID()]
  await withTenant(metering.database.pool, tenant.id, async (tx) => {
    await tx.query(
      `INSERT INTO customers (tenant_id, id, external_key, currency, timezone, created_at)
       VALUES (app_tenant(), $1, $2, 'EUR', 'Europe/Berlin', now())`,
      [customerId, key],
    )
    for (const subject of subjects)
      await tx.query('INSERT INTO customer_subjects VALUES (app_tenant(), $1, $2)', [subject, customerId])
    if (plan === undefined) return
    await tx.query(`INSERT INTO plans VALUES (app_tenant(), $1, $2, $2, 'EUR', 'month', 'anniversary', 0, now())`, [
      planId,
      plan,
    ])
    await tx.query(
      `INSERT INTO subscriptions (tenant_id, id, external_key, customer_id, plan_id, state, start_at, created_at)
       VALUES (app_tenant(), $1, $2, $3, $4, 'active', '2026-01-15T10:00:00Z', now())`,
      [randomUUID(), `${key}-subscription`, customerId, planId],
    )
  })
}

/** Issue 6: entitlements per plan and per customer or subject, HC-4 for the default. */
describe('entitlements', () => {
  test('are answered as stored, with what was left out, and listed by holder', async () => {
    const stored = {
      ...{ type: 'metered', meter: 'tokens', limit: '1500.5', window: 'billing_period', per: 'subject' },
      ...{ enforcement: 'hard', when_away: 'closed', thresholds: ['50%', '80%', '100%'] },
    }
    expect(await put('plan/basic/minutes', metered('1500.50', { window: 'billing_period' }))).toMatchObject({
      status: 200,
      body: { holder_kind: 'plan', holder: 'basic', feature: 'minutes', entitlement: stored },
    })
    await put('plan/basic/exports', { type: 'boolean', enabled: true })
    await put('plan/basic/regions', { type: 'static', value: ['eu', 'us'] })
    expect((await tenant.call('GET', '/entitlements/plan/basic')).body.entitlements).toEqual([
      { feature: 'exports', entitlement: { type: 'boolean', enabled: true } },
      { feature: 'minutes', entitlement: stored },
      { feature: 'regions', entitlement: { type: 'static', value: ['eu', 'us'] } },
    ])
  })

  test.each([
    ['another holder', 'team/a/f', metered('1'), 400],
    ['a name that is no slug', 'plan/a/F', metered('1'), 400],
    ['a negative limit', 'plan/a/f', metered('-1'), 400],
    ['another window', 'plan/a/f', metered('1', { window: 'week' }), 400],
    ['a threshold that is none', 'plan/a/f', metered('1', { thresholds: ['half'] }), 400],
    ['members of another type', 'plan/a/f', { type: 'boolean', enabled: true, limit: '1' }, 400],
    ['a value of 5,000 bytes', 'plan/a/f', { type: 'static', value: 'x'.repeat(5_000) }, 400],
    ['a value with the character 0', 'plan/a/f', { type: 'static', value: { deep: ['a\u0000'] } }, 400],
    ['a value with half a character', 'plan/a/f', { type: 'static', value: 'a\ud800' }, 400],
    ['a meter that is not there', 'plan/a/f', metered('1', { meter: 'nothing' }), 404],
  ])('%s is refused', async (_name, path, body, status) => {
    expect((await put(path, body)).status).toBe(status)
  })

  test('no permission is 403, and a tenant’s are its own (EPIC-5)', async () => {
    const reader = await metering.tenant(`t-${made++}`, ['billing:quotas:read'])
    expect((await put('plan/basic/f', { type: 'boolean', enabled: true }, reader)).status).toBe(403)
    await put('plan/basic/f', { type: 'boolean', enabled: true })
    expect((await reader.call('GET', '/entitlements/plan/basic')).body.entitlements).toEqual([])
  })

  test('a plan’s hold for the subjects of its subscribers, the default plan’s for all others, and nearer ones first', async () => {
    await subscribe('acme', ['alice', 'bob'], 'pro')
    await put('plan/basic/tokens', metered('5'))
    await put('plan/pro/tokens', metered('100'))
    await put('subject/bob/tokens', metered('3'))
    const remaining = async (subject: string) => {
      const [result] = (await calls.check('1', { subject })).body.results as Json[]
      return result?.quota_remaining
    }
    expect([await remaining('alice'), await remaining('bob'), await remaining('carol')]).toEqual(['100', '3', '5'])
    expect((await tenant.call('DELETE', '/entitlements/subject/bob/tokens')).status).toBe(204)
    expect((await tenant.call('DELETE', '/entitlements/subject/bob/tokens')).status).toBe(404)
    expect(await remaining('bob')).toBe('100')
    expect((await limitsOf('bob'))[0]).toMatchObject({ feature: 'tokens', granted_by: 'plan', shared_by: 'subject' })
  })

  test('the limit of each user and that of the organization both hold, and the reason says which denied', async () => {
    await subscribe('acme', ['alice', 'bob'])
    await put('customer/acme/team', metered('10', { per: 'customer' }))
    await put('customer/acme/each', metered('7'))
    const use = (id: string, subject: string, tokens: number) => calls.use(id, tokens, { subject })
    expect((await use('a', 'alice', 6)).status).toBe(202)
    expect((await use('b', 'alice', 2)).status).toBe(429)
    expect((await use('c', 'bob', 4)).status).toBe(202)
    expect((await use('d', 'bob', 1)).status).toBe(429)
    const { body } = await calls.check('1', { subject: 'bob' })
    const [{ allowed, reason }] = body.results as [{ allowed: boolean; reason: Json }]
    expect([allowed, reason]).toMatchObject([
      false,
      {
        code: 'limit_exceeded',
        limits: [
          { feature: 'each', shared_by: 'subject', used: '4', allows: true },
          { feature: 'team', shared_by: 'customer', used: '10', allows: false },
        ],
      },
    ])
  })

  test('a shared counter that is lost is loaded from the usage of all its customer’s subjects', async () => {
    await subscribe('acme', ['alice', 'bob'])
    await calls.use('a', 3, { subject: 'alice' })
    await calls.use('b', 4, { subject: 'bob' })
    await calls.use('c', 9, { subject: 'carol' })
    await put('customer/acme/team', metered('10', { per: 'customer' }))
    expect(await limitsOf('alice')).toMatchObject([{ used: '7', remaining: '3' }])
  })

  test('a month and a billing period that coincide are one counter: an event counts once, and a hold is given back once', async () => {
    await put('plan/basic/period', metered('20', { window: 'billing_period' }))
    await put('plan/basic/monthly', metered('30'))
    expect((await calls.use('a', 7)).status).toBe(202)
    const used = async () => (await limitsOf('customer-1')).map(({ feature, used }) => `${feature} ${used}`)
    expect(await used()).toEqual(['monthly 7', 'period 7'])
    const { body } = await calls.reserve('r', '5')
    expect(await used()).toEqual(['monthly 12', 'period 12'])
    await calls.post('release', { hold_id: body.hold_id })
    expect(await used()).toEqual(['monthly 7', 'period 7'])
    expect((await calls.use('b', 14)).status).toBe(429)
  })

  test('between a soft limit and a hard one on the same counter events are taken and flagged', async () => {
    await put('plan/basic/soft', metered('5', { enforcement: 'soft' }))
    await put('plan/basic/hard', metered('10'))
    expect((await calls.use('a', 5)).body.outcomes).toMatchObject([{ outcome: 'accepted', quota_remaining: '0' }])
    expect((await calls.use('b', 3)).body.outcomes).toMatchObject([{ outcome: 'accepted', over_quota: true }])
    const consumed = await calls.consume('c', 1)
    expect(consumed.body).toMatchObject({ quota_exceeded: true, reason: { code: 'soft_limit_exceeded' } })
    expect((await calls.use('d', 2)).status).toBe(429)
  })

  test('the old door does not hide behind an entitlement of the same name', async () => {
    await put('subject/customer-1/tokens', metered('5'))
    const { status, body } = await calls.limit('100')
    expect([status, body.code]).toEqual([409, 'conflict'])
  })

  test('a counter that is loaded after an open event went on has it, and counts it once', async () => {
    await put('subject/open/tokens', metered('50', { when_away: 'open' }))
    const { store } = metering
    const { query } = store
    let open: () => void = () => expect.unreachable('it is set at once')
    const gate = new Promise<void>((done) => {
      open = done
    })
    // The load begins to look at usage when the event is in it.
    store.query = (async (...args: Parameters<typeof query>) => {
      if (args[0].includes('shard_checkpoints')) await gate
      return query.apply(store, args)
    }) as typeof query
    const { body } = await calls.use('a', 4, { subject: 'open' })
    expect(body.outcomes).toMatchObject([{ outcome: 'accepted', quota_unchecked: true }])
    store.query = query
    await metering.settled()
    open()
    await sleep(300)
    expect((await limitsOf('open'))[0]?.used).toBe('4')
  })

  test('beyond a soft limit events are recorded and flagged', async () => {
    await put('subject/customer-1/tokens', metered('5', { enforcement: 'soft' }))
    const { status, body } = await calls.use('a', 9)
    expect([status, body.outcomes]).toMatchObject([
      202,
      [{ outcome: 'accepted', over_quota: true, quota_remaining: '0' }],
    ])
    const [result] = (await calls.check()).body.results as Json[]
    expect(result).toMatchObject({ allowed: true, quota_exceeded: true, reason: { code: 'soft_limit_exceeded' } })
    expect((await calls.reserve('r', '100')).status).toBe(201)
  })

  test('an hourly limit begins anew with the hour, that of a billing period with the period', async () => {
    await subscribe('acme', ['customer-1'], 'pro')
    await put('customer/acme/hourly', metered('5', { window: 'hour' }))
    await put('plan/pro/period', metered('6', { window: 'billing_period' }))
    expect((await limitsOf('customer-1')).map(({ window, resets_at }) => [window, resets_at])).toEqual([
      ['billing_period', '2026-12-15T10:00:00.000Z'],
      ['hour', '2026-11-20T13:00:00.000Z'],
    ])
    expect((await calls.use('a', 5)).status).toBe(202)
    expect((await calls.use('b', 1)).status).toBe(429)
    metering.clock.nowMs += 3_600_000
    expect((await calls.use('b', 1)).status).toBe(202)
    expect((await calls.use('c', 1)).status).toBe(429)
  })

  test('switches and values are told with the limits', async () => {
    await put('plan/basic/exports', { type: 'boolean', enabled: true })
    await put('subject/customer-1/region', { type: 'static', value: { cloud: 'eu' } })
    expect((await tenant.call('GET', '/quota/customer-1')).body.features).toEqual([
      { feature: 'exports', granted_by: 'plan', type: 'boolean', enabled: true },
      { feature: 'region', granted_by: 'subject', type: 'static', value: { cloud: 'eu' } },
    ])
  })

  test('can be asked for by name: a limit, a switch, a value; what nobody grants is not allowed', async () => {
    await put('plan/basic/minutes', metered('5'))
    await put('plan/basic/exports', { type: 'boolean', enabled: true })
    await put('plan/basic/imports', { type: 'boolean', enabled: false })
    await put('plan/basic/region', { type: 'static', value: 'eu' })
    const asked = ['minutes', 'exports', 'imports', 'region', 'nothing'].map((feature) => ({ subject: 's', feature }))
    const { body } = await calls.post('check', { checks: [{ ...asked[0], quantity: '6' }, ...asked] })
    expect(body.results).toMatchObject([
      { feature: 'minutes', allowed: false, quota_remaining: '5', reason: { code: 'limit_exceeded' } },
      { feature: 'minutes', allowed: true, reason: { code: 'within_limits' } },
      { feature: 'exports', allowed: true, reason: { code: 'feature_on' } },
      { feature: 'imports', allowed: false, reason: { code: 'feature_off' } },
      { feature: 'region', allowed: true, value: 'eu', reason: { code: 'feature_on' } },
      { feature: 'nothing', allowed: false, reason: { code: 'not_entitled' } },
    ])
    for (const wrong of [{ subject: 's' }, { subject: 's', meter: 'tokens', feature: 'minutes' }])
      expect((await calls.post('check', { checks: [wrong] })).status).toBe(400)
  })

  test('a limit of a subject can be taken away', async () => {
    await calls.limit('5')
    expect((await calls.use('a', 6)).status).toBe(429)
    expect((await tenant.call('DELETE', '/quota/customer-1/tokens')).status).toBe(204)
    expect((await calls.use('a', 6)).status).toBe(202)
    expect((await tenant.call('DELETE', '/quota/customer-1/tokens')).status).toBe(404)
  })

  test('while the counters are away, events of open limits go on and those of closed ones are to be sent again', async () => {
    await put('subject/open/tokens', metered('5', { when_away: 'open' }))
    await put('subject/closed/tokens', metered('5'))
    const { quota } = metering.log
    const { draw } = quota
    quota.draw = () => Promise.reject(new Problem('unavailable', 'The quota store does not answer: try again'))
    const subjects = ['open', 'closed', 'without']
    const both = await tenant.send(
      JSON.stringify(subjects.map((subject) => cloudEvent(subject, { tokens: 4 }, { subject }))),
    )
    const onlyClosed = await calls.use('a', 4, { subject: 'closed' })
    quota.draw = draw
    expect(both.body.outcomes).toMatchObject([
      { id: 'open', outcome: 'accepted', quota_unchecked: true },
      { id: 'closed', outcome: 'failed', retryable: true },
      { id: 'without', outcome: 'accepted' },
    ])
    expect(onlyClosed.status).toBe(503)
    await metering.settled()
    // What was taken meanwhile is in the counter once it is loaded.
    expect(await limitsOf('open')).toMatchObject([{ used: '4' }])
    expect(await limitsOf('closed')).toMatchObject([{ used: '0' }])
  })

  test('counters of open limits that take long to load hold nobody up for more than a second', async () => {
    await put('subject/open/tokens', metered('5', { when_away: 'open' }))
    const { quota } = metering.log
    const { draw } = quota
    quota.draw = () => new Promise(() => undefined)
    const { body } = await calls.use('a', 4, { subject: 'open' })
    quota.draw = draw
    expect(body.outcomes).toMatchObject([{ outcome: 'accepted', quota_unchecked: true }])
  })
})
