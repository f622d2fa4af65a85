import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import {
  cloudEvent,
  type Json,
  METERING_NOW,
  type Metering,
  openMetering,
  type Tenant,
} from '../../support/metering.ts'
import { openQuotaTenant, outcomes, quotaCalls } from './quota-calls.ts'

/** Issue 6: limits per rolling window; ops/decisions/0026-rolling-windows.md. */
let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  metering.clock.nowMs = METERING_NOW
  tenant = await openQuotaTenant(metering, `r-${made++}`)
})

const MINUTE_MS = 60_000
const { check, consume, lease, post, remaining, reserve, settle, use } = quotaCalls(() => tenant)
const pass = (minutes: number) => {
  metering.clock.nowMs += minutes * MINUTE_MS
}
const entitle = (feature: string, limit: string, change: object = {}, holder = 'subject/customer-1') => {
  const terms = { type: 'metered', meter: 'tokens', limit, window: 'rolling_hour', ...change }
  return tenant.call('PUT', `/entitlements/${holder}/${feature}`, terms)
}
const limits = async () => (await tenant.call('GET', '/quota/customer-1')).body.limits as Json[]
const used = async () => (await limits()).map((limit) => `${limit.feature} ${limit.used}`)
const at = (minutes: number) => ({ time: new Date(metering.clock.nowMs + minutes * MINUTE_MS).toISOString() })

describe('a rolling limit', () => {
  test('refuses what any hour would hold too much of, and has room again as the oldest use leaves', async () => {
    expect(await entitle('burst', '100')).toMatchObject({
      status: 200,
      body: { entitlement: { window: 'rolling_hour' } },
    })
    expect((await use('a', 60)).status).toBe(202)
    pass(40)
    expect((await use('b', 40)).status).toBe(202)
    pass(20)
    // A whole hour after the first: a calendar's hour would have begun anew.
    const refused = await use('c', 1)
    expect([refused.status, outcomes(refused)]).toMatchObject([429, [{ quota_remaining: '0' }]])
    pass(5)
    expect(outcomes(await use('c', 50))).toMatchObject([{ outcome: 'accepted', quota_remaining: '10' }])
    expect((await use('d', 11)).status).toBe(429)
  })

  test('tells what counts, since when, and when the oldest of it leaves; check and consume agree', async () => {
    await entitle('burst', '100')
    await use('a', 60)
    pass(32)
    await use('b', 30)
    expect(await limits()).toMatchObject([
      {
        ...{ feature: 'burst', window: 'rolling_hour', limit: '100', used: '90', remaining: '10', allows: true },
        ...{ starts_at: '2026-11-20T11:30:00.000Z', resets_at: '2026-11-20T12:35:00.000Z' },
      },
    ])
    for (const [quantity, allowed] of [
      ['10', true],
      ['11', false],
    ] as const)
      expect((await check(quantity)).body.results).toMatchObject([
        { allowed, quota_remaining: '10', resets_at: '2026-11-20T12:35:00.000Z', reason: { limits: [{ used: '90' }] } },
      ])
    expect(await consume('c', 11)).toMatchObject({ status: 429, body: { quota_remaining: '10' } })
    expect(await consume('d', 10)).toMatchObject({
      ...{ status: 202, body: { quota_remaining: '0', reason: { limits: [{ used: '100', remaining: '0' }] } } },
    })
    const { body } = await tenant.call('GET', '/billing/quota/customer-1')
    expect(body.limits).toMatchObject([{ window: 'rolling_hour', used: '100' }])
  })

  test('counts a late event in the hours that it lies in', async () => {
    await entitle('burst', '100')
    await use('a', 95)
    pass(90)
    await use('b', 40)
    expect((await use('late', 6, at(-70))).status).toBe(429)
    expect((await use('late', 5, at(-70))).status).toBe(202)
    expect(await remaining()).toBe('60')
    expect((await use('late-too', 61, at(-20))).status).toBe(429)
    // Its hour has ended; room comes at the next turn all the same.
    const { status, body } = await consume('late-three', 1, at(-20))
    expect([status, body.resets_at]).toEqual([202, '2026-11-20T13:35:00.000Z'])
  })

  test('of a day and of 30 days as well', async () => {
    await entitle('daily', '100', { window: 'rolling_day' })
    await entitle('monthly', '150', { window: 'rolling_30_days' })
    await use('a', 100)
    pass(24 * 60)
    expect((await use('b', 1)).status).toBe(429)
    pass(2 * 60)
    expect((await use('b', 50)).status).toBe(202)
    expect(await used()).toEqual(['daily 50', 'monthly 150'])
    pass(29 * 24 * 60)
    expect((await use('c', 1)).status).toBe(429)
    pass(3 * 24 * 60)
    expect((await use('c', 100)).status).toBe(202)
  })

  test('beyond a soft one events are taken and flagged, and two of one length are drawn on once', async () => {
    await entitle('soft', '5', { enforcement: 'soft' })
    await entitle('hard', '10')
    expect(outcomes(await use('a', 5))).toMatchObject([{ outcome: 'accepted', quota_remaining: '0' }])
    pass(30)
    expect(outcomes(await use('b', 3))).toMatchObject([{ outcome: 'accepted', over_quota: true }])
    expect((await use('c', 3)).status).toBe(429)
    expect(await used()).toEqual(['hard 8', 'soft 8'])
  })

  test('is one of all subjects of a customer too', async () => {
    await subscribed('acme', ['customer-1', 'customer-2'])
    await entitle('team', '10', { per: 'customer' }, 'customer/acme')
    await use('a', 6)
    pass(20)
    expect((await use('b', 5, { subject: 'customer-2' })).status).toBe(429)
    expect((await use('b', 4, { subject: 'customer-2' })).status).toBe(202)
    expect(await limits()).toMatchObject([{ shared_by: 'customer', used: '10' }])
  })

  test('whose bucket has the times of a billing period is apart from it: each counts an event once', async () => {
    await subscribed('acme', ['customer-1'], '2026-11-20T12:00:00Z', '2026-11-20T12:05:00Z')
    await entitle('burst', '10')
    await entitle('hourly', '20', { window: 'hour' })
    await entitle('period', '30', { window: 'billing_period' })
    expect((await use('a', 7)).status).toBe(202)
    expect(await limits()).toMatchObject([
      { feature: 'burst', used: '7' },
      { feature: 'hourly', used: '7' },
      { feature: 'period', used: '7', resets_at: '2026-11-20T12:05:00.000Z' },
    ])
    const { body } = await reserve('r', '3')
    expect(await used()).toEqual(['burst 10', 'hourly 10', 'period 10'])
    await post('release', { hold_id: body.hold_id })
    expect(await used()).toEqual(['burst 7', 'hourly 7', 'period 7'])
  })
})

describe('what is held of a rolling limit', () => {
  test('is what the hour has left; settled after a turn of the bucket it counts once, and passes nothing', async () => {
    await entitle('burst', '100')
    await use('a', 60)
    pass(30)
    expect(await reserve('r', '41')).toMatchObject({ status: 429, body: { quota_remaining: '40' } })
    const reserved = await reserve('r-2', '40', { expires_in_ms: 600_000 })
    expect(reserved).toMatchObject({ status: 201, body: { quota_remaining: '0' } })
    pass(6)
    const settled = await settle(reserved.body.hold_id, 'b', 30, at(0))
    expect(settled).toMatchObject({ status: 202, body: { outcome: 'accepted', quota_exceeded: false, released: '10' } })
    expect(await remaining()).toBe('10')
    expect((await use('b-2', 11)).status).toBe(429)
  })

  test('by a lease is granted partly, and events that it decided draw from it', async () => {
    await entitle('burst', '100')
    await use('a', 60)
    const { body } = await lease('l', '1000', { expires_in_ms: 600_000 })
    expect(body).toMatchObject({ quantity: '40', quota_remaining: '0' })
    pass(5)
    const event = cloudEvent('b', { tokens: 15 }, { tallyhold: body.lease_id })
    expect(outcomes(await tenant.send(JSON.stringify(event)))).toMatchObject([{ outcome: 'accepted' }])
    const back = await post(`leases/${body.lease_id}/return`, { unused: '20' })
    expect([back.body.returned, await remaining()]).toEqual(['20', '20'])
  })
})

test('buckets that are lost are loaded from usage, each what lies in it', async () => {
  await entitle('burst', '100')
  await use('a', 10)
  pass(20)
  await use('b', 20)
  await use('late', 5, at(-20))
  pass(35)
  await use('c', 30)
  expect(await used()).toEqual(['burst 65'])
  await metering.settled()
  await metering.log.lmdb.quota.clearAsync()
  expect(await used()).toEqual(['burst 65'])
  pass(10)
  expect(await used()).toEqual(['burst 50'])
})

/** A customer with subjects, and a subscription if it has a start. */
async function subscribed(key: string, subjects: readonly string[], startAt?: string, endAt?: string): Promise<void> {
  const [customerId, planId] = [randomUUID(), randomUUID()]
  await withTenant(metering.database.pool, tenant.id, async (tx) => {
    await tx.query(
      `INSERT INTO customers (tenant_id, id, external_key, currency, timezone, created_at)
       VALUES (app_tenant(), $1, $2, 'EUR', 'UTC', now())`,
      [customerId, key],
    )
    for (const subject of subjects)
      await tx.query('INSERT INTO customer_subjects VALUES (app_tenant(), $1, $2)', [subject, customerId])
    if (startAt === undefined) return
    await tx.query(`INSERT INTO plans VALUES (app_tenant(), $1, $2, $2, 'EUR', 'month', 'anniversary', 0, now())`, [
      planId,
      `plan-${key}`,
    ])
    await tx.query(
      `INSERT INTO subscriptions (tenant_id, id, external_key, customer_id, plan_id, state, start_at, end_at, created_at)
       VALUES (app_tenant(), $1, $2, $3, $4, 'active', $5, $6, now())`,
      [randomUUID(), `${key}-subscription`, customerId, planId, startAt, endAt],
    )
  })
}
