import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { METERING_NOW, type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { NOVEMBER, OWN, openQuotaTenant, outcomes, quotaCalls } from './quota-calls.ts'

/** Issue 6, the wire contract of quotas; design.md §6. */
let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  metering.clock.nowMs = METERING_NOW
  tenant = await openQuotaTenant(metering, `q-${made++}`)
})

const { check, lease, limit, post, remaining, reserve, use } = quotaCalls(() => tenant)

describe('check', () => {
  test('says what fits, which limit says so, and changes nothing', async () => {
    await limit('100')
    await use('a', 60)
    const limits = (allows: boolean) => [
      ...[{ subject: 'customer-1', meter: 'tokens', window: 'month', limit: '100', used: '60', remaining: '40' }].map(
        (one) => ({ ...one, ...OWN, feature: 'tokens', allows, ...NOVEMBER }),
      ),
    ]
    const about = { subject: 'customer-1', meter: 'tokens', quota_remaining: '40', resets_at: NOVEMBER.resets_at }
    for (let times = 0; times < 2; times++) {
      expect((await check('40')).body.results).toEqual([
        {
          ...{ ...about, quantity: '40', allowed: true, quota_exceeded: false },
          reason: { code: 'within_limits', limits: limits(true) },
        },
      ])
      expect((await check('40.000001')).body.results).toEqual([
        {
          ...{ ...about, quantity: '40.000001', allowed: false, quota_exceeded: true },
          reason: { code: 'limit_exceeded', limits: limits(false) },
        },
      ])
    }
  })

  test('without a limit everything fits', async () => {
    expect((await check()).body.results).toEqual([
      {
        ...{ subject: 'customer-1', meter: 'tokens', quantity: '1', allowed: true, quota_remaining: null },
        ...{ quota_exceeded: false, resets_at: null, reason: { code: 'no_limit', limits: [] } },
      },
    ])
  })

  test('a thousand are asked at once, each by itself, in their order', async () => {
    await limit('10')
    await limit('5', 'requests', 'day', 'customer-2')
    const checks = Array.from({ length: 1_000 }, (_, n) => ({
      ...{ subject: n % 2 ? 'customer-1' : 'customer-2', meter: n % 2 ? 'tokens' : 'requests' },
      quantity: String(n % 12),
    }))
    const { body } = await post('check', { checks })
    const results = body.results as { subject: string; quantity: string; allowed: boolean }[]
    const wrong = results.filter(({ subject, quantity, allowed }, n) => {
      return subject !== checks[n]!.subject || allowed !== Number(quantity) <= (n % 2 ? 10 : 5)
    })
    expect([results.length, wrong]).toEqual([1_000, []])
    expect((await post('check', { checks: [...checks, ...checks] })).status).toBe(400)
  })

  test.each([['-1'], ['1e3'], [''], ['0.0000000000001']])('a quantity of %j is refused', async (quantity) => {
    expect((await check(quantity)).status).toBe(400)
    expect((await reserve('k', quantity)).status).toBe(400)
  })
})

describe('GET /quota/{subject}', () => {
  test('tells all limits of a subject with what is used and held', async () => {
    await limit('100')
    await limit('3', 'requests', 'day')
    await use('a', 60)
    await reserve('k', '40')
    expect((await tenant.call('GET', '/quota/customer-1')).body).toEqual({
      subject: 'customer-1',
      limits: [
        {
          ...{ subject: 'customer-1', meter: 'requests', window: 'day', limit: '3', used: '1', remaining: '2' },
          ...{ allows: true, starts_at: '2026-11-20T00:00:00.000Z', resets_at: '2026-11-21T00:00:00.000Z' },
          ...{ ...OWN, feature: 'requests' },
        },
        {
          ...{ subject: 'customer-1', meter: 'tokens', window: 'month', limit: '100', used: '100', remaining: '0' },
          ...{ allows: false, ...NOVEMBER, ...OWN, feature: 'tokens' },
        },
      ],
      features: [],
    })
    expect((await tenant.call('GET', '/quota/nobody')).body).toEqual({ subject: 'nobody', limits: [], features: [] })
  })
})

describe('reserve', () => {
  test('holds all of it or nothing, and says what remains', async () => {
    await limit('100')
    const held = await reserve('k', '60')
    expect(held).toMatchObject({
      status: 201,
      body: {
        ...{ subject: 'customer-1', meter: 'tokens', quantity: '60', expires_at: '2026-11-20T12:01:00.000Z' },
        ...{ quota_remaining: '40', resets_at: NOVEMBER.resets_at },
      },
    })
    expect(held.body.hold_id).toMatch(/^hold-[0-9a-f]{32}$/)
    const refused = await reserve('l', '41')
    expect(refused).toMatchObject({
      status: 429,
      body: {
        ...{ code: 'quota_exceeded', quota_remaining: '40', quota_exceeded: true, resets_at: NOVEMBER.resets_at },
        reason: { code: 'limit_exceeded', limits: [{ used: '60', allows: false }] },
      },
    })
    expect(outcomes(await use('a', 41))).toMatchObject([{ outcome: 'quota_exceeded', quota_remaining: '40' }])
    expect((await use('b', 40)).status).toBe(202)
  })

  test('the same key again has the same answer and holds nothing twice, also after it was released', async () => {
    await limit('100')
    const first = await reserve('k', '60')
    metering.clock.nowMs += 5_000
    expect((await reserve('k', '60')).body).toEqual(first.body)
    await post('release', { hold_id: first.body.hold_id })
    expect((await reserve('k', '60')).body).toEqual(first.body)
    expect(await remaining()).toBe('100')
  })

  test('the same key for something else is a conflict; without a key it is refused', async () => {
    await limit('100')
    await limit('100', 'tokens', 'month', 'customer-2')
    await reserve('k', '60')
    expect((await reserve('k', '61')).body.code).toBe('conflict')
    expect((await reserve('k', '60', { subject: 'customer-2' })).body.code).toBe('conflict')
    expect((await post('reserve', { subject: 'a', meter: 'tokens', quantity: '1' })).status).toBe(400)
    // A lease under the same key is another hold.
    expect((await lease('k', '60')).body).toMatchObject({ quantity: '40' })
  })

  test('without a limit it is granted as asked, and nothing is counted', async () => {
    expect(await reserve('k', '60')).toMatchObject({ status: 201, body: { quantity: '60', quota_remaining: null } })
    expect((await post('release', { hold_id: (await reserve('k', '60')).body.hold_id })).body.released).toBe('0')
  })

  test.each([[999], [3_600_001], [1.5]])('an expiry of %s ms is refused', async (expires_in_ms) => {
    expect((await reserve('k', '1', { expires_in_ms })).status).toBe(400)
  })

  test('nothing, and more digits than counters have, is rounded up or refused: never too little is held', async () => {
    await limit('1')
    expect((await reserve('zero', '0')).status).toBe(400)
    expect((await reserve('k', '0.0000001')).body).toMatchObject({ quantity: '0.000001', quota_remaining: '0.999999' })
  })

  test('what is not settled or released is free again after its expiry and the grace', async () => {
    await limit('100')
    const { body } = await reserve('k', '60', { expires_in_ms: 2_000 })
    metering.clock.nowMs += 11_000
    expect(await remaining()).toBe('40')
    metering.clock.nowMs += 1_001
    expect((await post('release', { hold_id: body.hold_id })).body).toEqual({ hold_id: body.hold_id, released: '0' })
    expect(await remaining()).toBe('100')
  })

  test('a limit that nobody used yet counts the usage of before', async () => {
    await use('a', 70)
    await metering.settled()
    await limit('100')
    expect((await reserve('k', '31')).status).toBe(429)
    expect((await reserve('l', '30')).body.quota_remaining).toBe('0')
  })
})

describe('release', () => {
  test('frees what is left, once', async () => {
    await limit('100')
    const { hold_id } = (await reserve('k', '60')).body
    expect((await post('release', { hold_id })).body).toEqual({ hold_id, released: '60' })
    expect((await post('release', { hold_id })).body).toEqual({ hold_id, released: '0' })
    expect((await post('release', { hold_id: 'hold-unknown' })).body.released).toBe('0')
    expect(await remaining()).toBe('100')
  })
})

describe('lease', () => {
  test('grants what there is, "0" at the end, and returns what was not used', async () => {
    await limit('100')
    const first = await lease('k', '80')
    expect(first).toMatchObject({
      status: 200,
      body: { quantity: '80', expires_at: '2026-11-20T12:00:30.000Z', quota_remaining: '20' },
    })
    expect((await lease('l', '80')).body).toMatchObject({ quantity: '20', quota_remaining: '0' })
    expect((await lease('m', '80')).body).toMatchObject({ quantity: '0', quota_remaining: '0' })
    const back = (unused: string) => post(`leases/${first.body.lease_id}/return`, { unused })
    expect((await back('30.5')).body).toEqual({ lease_id: first.body.lease_id, returned: '30.5' })
    expect((await back('30.5')).body.returned).toBe('30.5')
    expect(await remaining()).toBe('30.5')
    expect((await back('1000')).body.returned).toBe('49.5')
    expect((await back('0')).body.returned).toBe('0')
    expect((await post('leases/unknown/return', { unused: '1' })).body.returned).toBe('0')
    expect(await remaining()).toBe('80')
  })

  test('without a limit it is granted as asked', async () => {
    expect((await lease('k', '1000')).body).toMatchObject({ quantity: '1000', quota_remaining: null, resets_at: null })
  })
})
