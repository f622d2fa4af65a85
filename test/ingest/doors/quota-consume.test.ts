import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Answer,
  cloudEvent,
  type Json,
  METERING_NOW,
  type Metering,
  openMetering,
  type Tenant,
} from '../../support/metering.ts'
import { NOVEMBER, openQuotaTenant, outcomes, quotaCalls } from './quota-calls.ts'

/** Issue 6, the wire contract of quotas: events that consume, settle, or were decided by a lease; design.md §6. */
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

afterEach(() => void vi.restoreAllMocks())

const { consume, lease, limit, post, remaining, reserve, settle, use } = quotaCalls(() => tenant)

describe('consume', () => {
  test('ingests one event, whose id is the key, and says where its limits stand', async () => {
    await limit('100')
    expect(await consume('a', 60)).toMatchObject({
      status: 202,
      body: {
        ...{ event_id: 'a', outcome: 'accepted', quota_remaining: '40', quota_exceeded: false },
        ...{ resets_at: NOVEMBER.resets_at, reason: { code: 'within_limits', limits: [{ used: '60', allows: true }] } },
      },
    })
    expect(await consume('b', 41)).toMatchObject({
      status: 429,
      body: {
        ...{ code: 'quota_exceeded', quota_remaining: '40', quota_exceeded: true, resets_at: NOVEMBER.resets_at },
        reason: { code: 'limit_exceeded', limits: [{ used: '60', allows: false }] },
      },
    })
    await metering.settled()
    const { body } = await tenant.call('GET', '/events?source=/consume&id=a')
    expect(body).toMatchObject({ copies: [{ subject: 'customer-1', data: expect.stringContaining('"tokens":60') }] })
  })

  test('without a limit it is ingested all the same; what an event may not be is refused', async () => {
    expect(await consume('a', 60)).toMatchObject({ status: 202, body: { quota_remaining: null, resets_at: null } })
    expect(await consume('b', 1, { data: { tokens: 'many' } })).toMatchObject({
      status: 400,
      body: { code: 'events_refused', errors: [{ path: 'data.tokens' }] },
    })
    expect((await post('consume', { subject: 'a', type: 'llm.request', data: {} })).status).toBe(400)
  })
})

describe('when the counters cannot be looked at after an event was taken', () => {
  test('consume and settle answer what was decided, load nothing, and the events are counted', async () => {
    const slug = `q-${made - 1}`
    await limit('100')
    const { hold_id } = (await reserve('k', '30')).body
    const look = vi.spyOn(metering.log.quota, 'read').mockRejectedValue(new Error('the store is away'))
    expect(await consume('a', 60)).toMatchObject({
      status: 202,
      body: {
        ...{ outcome: 'accepted', quota_remaining: '10', quota_exceeded: false, resets_at: null },
        reason: { code: 'within_limits', limits: [] },
      },
    })
    const over = { quota_remaining: '0', quota_exceeded: true, resets_at: null }
    const reason = { code: 'limit_exceeded', limits: [] }
    expect(await settle(hold_id, 'b', 45)).toMatchObject({ status: 202, body: { ...over, reason, released: '0' } })
    expect(await consume('c', 1)).toMatchObject({ status: 429, body: { code: 'quota_exceeded', ...over, reason } })
    // The counters were lost since.
    look.mockResolvedValue({ missing: [] })
    const load = vi.spyOn(metering.log.quota, 'load')
    expect(await consume('a', 60)).toMatchObject({ status: 202, body: { outcome: 'duplicate', resets_at: null } })
    expect(load).not.toHaveBeenCalled()
    const metrics = (await metering.app.inject({ method: 'GET', url: '/metrics' })).body
    expect(metrics).toContain(`billing_usage_total{tenant="${slug}",outcome="accepted"} 3`)
    expect(metrics).toContain(`billing_usage_total{tenant="${slug}",outcome="quota_exceeded"} 1`)
  })

  test('a refusal does not contradict itself when limits have got room since', async () => {
    await limit('100')
    await use('other', 60)
    vi.spyOn(metering.log.quota, 'read').mockResolvedValue({ usedMicro: [0n] })
    expect(await consume('a', 41)).toMatchObject({
      status: 429,
      body: {
        quota_remaining: '40',
        quota_exceeded: true,
        reason: { code: 'limit_exceeded', limits: [{ used: '0' }] },
      },
    })
  })
})

describe('settle', () => {
  test('takes what was used from the hold, frees the rest, and again is a duplicate that takes nothing', async () => {
    await limit('100')
    const { hold_id } = (await reserve('k', '60')).body
    const settled = await settle(hold_id, 'a', 45)
    expect(settled).toMatchObject({
      status: 202,
      body: {
        ...{ hold_id, released: '15', event_id: 'a', outcome: 'accepted', quota_remaining: '55' },
        ...{ quota_exceeded: false, resets_at: NOVEMBER.resets_at, reason: { code: 'within_limits' } },
      },
    })
    expect((await settle(hold_id, 'a', 45)).body).toMatchObject({ outcome: 'duplicate', released: '0' })
    expect(await remaining()).toBe('55')
    await metering.settled()
    const usage = await tenant.call('GET', '/usage?meter=tokens&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z')
    expect(usage.body.total).toMatchObject({ quantity: '45' })
  })

  test('with more than was held takes the rest from the quota, recorded and flagged beyond the limit', async () => {
    await limit('100')
    await use('other', 30)
    const { hold_id } = (await reserve('k', '60')).body
    expect((await settle(hold_id, 'a', 65)).body).toMatchObject({ released: '0', quota_remaining: '5' })
    const second = (await reserve('l', '5')).body
    expect(await settle(second.hold_id, 'b', 15)).toMatchObject({
      status: 202,
      body: { outcome: 'accepted', quota_remaining: '0', quota_exceeded: true, reason: { code: 'limit_exceeded' } },
    })
    expect((await tenant.call('GET', '/quota/customer-1')).body.limits).toMatchObject([{ used: '110', allows: false }])
  })

  test('of a hold that is gone or never was: the work is done, so the event is recorded and flagged', async () => {
    await limit('100')
    const { hold_id } = (await reserve('k', '60', { expires_in_ms: 1_000 })).body
    metering.clock.nowMs += 11_001
    await post('release', { hold_id })
    await use('other', 100)
    for (const [hold, id] of [
      [hold_id, 'a'],
      ['hold-unknown', 'b'],
    ])
      expect(await settle(hold, String(id), 10)).toMatchObject({
        status: 202,
        body: { quota_exceeded: true, released: '0' },
      })
  })

  test('with an event that is refused keeps the hold', async () => {
    await limit('100')
    const { hold_id } = (await reserve('k', '60')).body
    expect(await settle(hold_id, 'a', 1, { type: 'nothing' })).toMatchObject({
      status: 400,
      body: { code: 'events_refused', errors: [{ path: 'event.type' }] },
    })
    expect(await remaining()).toBe('40')
    expect((await settle(hold_id, 'a', 60)).body).toMatchObject({ released: '0', outcome: 'accepted' })
  })
})

describe('what is refused is named as the door calls it', () => {
  const path = async (answer: Promise<Answer>) => ((await answer).body.errors as Json[])[0]?.path
  const odd = 'a\u0001b'

  test('consume: its own members and header', async () => {
    expect(await path(consume('a', 1, { time: 'soon' }))).toBe('time')
    expect(await path(consume('a', 1, { hold_id: odd }))).toBe('hold_id')
    expect(await path(consume('é'.repeat(129), 1))).toBe('Idempotency-Key')
  })

  test('settle: members of its event, and the hold', async () => {
    expect(await path(settle('x', '', 1))).toBe('event.id')
    expect(await path(settle('x', 'a', 1, { data: {} }))).toBe('event.data.tokens')
    expect(await path(settle(odd, 'a', 1))).toBe('hold_id')
    const { body } = await settle('x', 'a', 1, { time: 'soon' })
    expect(body.detail).toMatch(/^The event was refused: event\.time must/)
  })
})

describe('events that a lease decided', () => {
  test('draw from it while it lasts, and after it are recorded and flagged, not refused', async () => {
    await limit('100')
    await use('other', 40)
    const tallyhold = (await lease('k', '60')).body.lease_id
    expect(outcomes(await use('a', 25, { tallyhold }))).toEqual([
      { index: 0, outcome: 'accepted', id: 'a', quota_remaining: '0' },
    ])
    expect(outcomes(await use('b', 1))).toMatchObject([{ outcome: 'quota_exceeded' }])
    // The lease expired; within the grace events still find it.
    metering.clock.nowMs += 39_000
    expect(outcomes(await use('c', 30, { tallyhold }))).toMatchObject([{ outcome: 'accepted', quota_remaining: '0' }])
    metering.clock.nowMs += 1_001
    expect(outcomes(await use('d', 4, { tallyhold }))).toEqual([
      { index: 0, outcome: 'accepted', id: 'd', quota_remaining: '1' },
    ])
    expect(outcomes(await use('e', 4, { tallyhold }))).toEqual([
      { index: 0, outcome: 'accepted', id: 'e', quota_remaining: '0', over_quota: true },
    ])
    expect((await tenant.call('GET', '/quota/customer-1')).body.limits).toMatchObject([{ used: '103' }])
  })

  test('sent twice, draw once', async () => {
    await limit('100')
    const tallyhold = (await lease('k', '60')).body.lease_id
    for (let times = 0; times < 3; times++) await use('a', 25, { tallyhold })
    expect((await post('release', { hold_id: tallyhold })).body.released).toBe('35')
    expect(await remaining()).toBe('75')
  })

  test('come at every door for CloudEvents: in a batch, in headers, and through consume', async () => {
    await limit('100')
    const tallyhold = (await lease('k', '100')).body.lease_id
    const batch = [cloudEvent('a', { tokens: 10 }, { tallyhold }), cloudEvent('b', { tokens: 10 })]
    expect(outcomes(await tenant.send(JSON.stringify(batch))).map(({ outcome }) => outcome)).toEqual([
      ...['accepted', 'quota_exceeded'],
    ])
    const headers = {
      ...{ 'ce-specversion': '1.0', 'ce-id': 'c', 'ce-source': 'test', 'ce-type': 'llm.request' },
      ...{ 'ce-subject': 'customer-1', 'ce-tallyhold': String(tallyhold) },
    }
    expect(outcomes(await tenant.send('{"tokens":20}', headers))).toMatchObject([{ outcome: 'accepted' }])
    expect((await consume('d', 30, { hold_id: tallyhold })).body).toMatchObject({ outcome: 'accepted' })
    expect((await consume('d', 30, { hold_id: tallyhold })).body).toMatchObject({ outcome: 'duplicate' })
    expect((await post('release', { hold_id: tallyhold })).body.released).toBe('40')
  })

  test.each([[5], [''], ['x'.repeat(257)], [{}]])('a tallyhold that is no name is refused: %j', async (tallyhold) => {
    const { status, body } = await use('a', 1, { tallyhold })
    expect([status, (body.outcomes as Json[])[0]]).toMatchObject([400, { code: 'invalid_value', path: 'tallyhold' }])
  })
})

/** billing-cases.md C3, on the embedded store; on Redis see quota-storm.redis.servers.test.ts. */
describe('at once (C3)', () => {
  test.each(['reserve', 'consume'])('balance 600, five times %s of 500: one fits', async (path) => {
    await use('earlier', 400)
    await limit('1000')
    const ask = (n: number) => (path === 'reserve' ? reserve(`k-${n}`, '500') : consume(`k-${n}`, 500))
    const answers = await Promise.all(Array.from({ length: 5 }, (_, n) => ask(n)))
    expect(answers.filter(({ status }) => status < 300)).toHaveLength(1)
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(4)
    expect(await remaining()).toBe('100')
  })

  test('leases share what there is', async () => {
    await use('earlier', 400)
    await limit('1000')
    const answers = await Promise.all(Array.from({ length: 5 }, (_, n) => lease(`k-${n}`, '250')))
    expect(answers.map(({ body }) => Number(body.quantity)).sort((a, b) => a - b)).toEqual([0, 0, 100, 250, 250])
    expect(await remaining()).toBe('0')
  })

  test('reservations, events and leases at the same time never exceed the limit', async () => {
    await limit('200')
    const amounts = await Promise.all(
      Array.from({ length: 150 }, async (_, n) => {
        const size = 1 + (n % 7)
        if (n % 3 === 0) return (await consume(`c-${n}`, size)).status === 202 ? size : 0
        const { body, status } = await (n % 3 === 1 ? reserve : lease)(`h-${n}`, String(size))
        return status < 300 ? Number(body.quantity) : 0
      }),
    )
    const sum = amounts.reduce((all, one) => all + one, 0)
    expect(sum).toBeLessThanOrEqual(200)
    expect(sum).toBeGreaterThan(200 - 7)
    expect(await remaining()).toBe(String(200 - sum))
  })
})
