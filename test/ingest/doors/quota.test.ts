import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  type Answer,
  cloudEvent,
  METERING_NOW,
  type Metering,
  openMetering,
  type Tenant,
} from '../../support/metering.ts'
import { openQuotaTenant } from './quota-calls.ts'

let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  metering.clock.nowMs = METERING_NOW
  tenant = await newTenant()
})

const newTenant = (): Promise<Tenant> => openQuotaTenant(metering, `t-${made++}`)

const limit = (quantity: string, window = 'month', meter = 'tokens', subject = 'customer-1') =>
  tenant.call('PUT', `/quota/${encodeURIComponent(subject)}/${meter}`, { limit: quantity, window })
const use = (id: string, tokens: number, change = {}) => tenant.send(JSON.stringify(cloudEvent(id, { tokens }, change)))

/** The one outcome as `accepted 400`. */
function outcomeOf({ body }: Answer): string {
  const [outcome] = body.outcomes as { outcome: string; quota_remaining?: string }[]
  return `${outcome?.outcome} ${outcome?.quota_remaining ?? '-'}`
}

describe('PUT /quota/{subject}/{meter}', () => {
  test('answers what is stored, in its shortest form', async () => {
    expect(await limit('1000.500', 'day')).toMatchObject({
      status: 200,
      body: { subject: 'customer-1', meter: 'tokens', limit: '1000.5', window: 'day' },
    })
    expect(await limit('5', 'month', 'tokens', 'a/b c é')).toMatchObject({ body: { subject: 'a/b c é' } })
  })

  test.each([
    ['a negative limit', { limit: '-1', window: 'day' }, 400],
    ['a number', { limit: 5, window: 'day' }, 400],
    ['thirteen decimals', { limit: '0.0000000000001', window: 'day' }, 400],
    ['another window', { limit: '5', window: 'week' }, 400],
    ['an unknown member', { limit: '5', window: 'day', odd: 1 }, 400],
    ['nothing', {}, 400],
  ])('%s: %#', async (_name, body, status) => {
    expect((await tenant.call('PUT', '/quota/customer-1/tokens', body)).status).toBe(status)
  })

  test('a meter that is not there, or another tenant’s, is 404 (EPIC-5); no permission is 403', async () => {
    expect((await limit('5', 'day', 'nothing')).status).toBe(404)
    await tenant.call('PUT', '/meters/mine', { event_type: 'llm.request', aggregation: 'count' })
    const other = await newTenant()
    expect((await other.call('PUT', '/quota/s/mine', { limit: '5', window: 'day' })).status).toBe(404)
    const reader = await metering.tenant(`t-${made++}`, ['billing:quotas:read', 'billing:usage:create'])
    expect((await reader.call('PUT', '/quota/s/mine', { limit: '5', window: 'day' })).status).toBe(403)
  })
})

describe('a limit', () => {
  test('stops the event that what remains does not cover, and says what remains', async () => {
    await limit('1000')
    expect(outcomeOf(await use('a', 400))).toBe('accepted 600')
    expect(outcomeOf(await use('b', 601))).toBe('quota_exceeded 600')
    expect(outcomeOf(await use('c', 600))).toBe('accepted 0')
    expect((await use('d', 1)).status).toBe(429)
    expect(outcomeOf(await use('e', 0))).toBe('accepted 0')
  })

  test('counts the usage of its window before it was set, stored or not yet', async () => {
    await use('a', 300)
    await metering.settled()
    await use('b', 100)
    await limit('1000')
    expect(outcomeOf(await use('c', 601))).toBe('quota_exceeded 600')
    expect(outcomeOf(await use('d', 600))).toBe('accepted 0')
  })

  test('counts an event that was sent twice once (invariant 1)', async () => {
    await use('a', 300)
    await use('a', 300)
    await limit('1000')
    expect(outcomeOf(await use('b', 100))).toBe('accepted 600')
    expect(outcomeOf(await use('b', 100))).toBe('accepted 600')
  })

  test('is drawn on in the window that the event’s time lies in, whose earlier usage counts', async () => {
    const october = { time: '2026-10-25T12:00:00Z' }
    await use('a', 300, october)
    await limit('1000')
    expect(outcomeOf(await use('b', 100))).toBe('accepted 900')
    expect(outcomeOf(await use('c', 100, october))).toBe('accepted 600')
    await limit('1000', 'day')
    expect(outcomeOf(await use('d', 100, { time: '2026-11-19T23:59:59.999Z' }))).toBe('accepted 900')
    expect(outcomeOf(await use('e', 100, { time: '2026-11-20T00:00:00Z' }))).toBe('accepted 800')
  })

  test('begins anew with its window', async () => {
    await limit('10', 'day')
    expect(outcomeOf(await use('a', 10))).toBe('accepted 0')
    metering.clock.nowMs += 86_400_000
    expect(outcomeOf(await use('b', 4))).toBe('accepted 6')
  })

  test('that is changed holds for the next event, with what was used', async () => {
    await limit('1000')
    await use('a', 400)
    await limit('300')
    expect(outcomeOf(await use('b', 1))).toBe('quota_exceeded 0')
    await limit('500')
    expect(outcomeOf(await use('b', 1))).toBe('accepted 99')
  })

  test('of 0 stops everything', async () => {
    await limit('0')
    expect(outcomeOf(await use('a', 1))).toBe('quota_exceeded 0')
  })

  test('on two meters: what remains is that of the limit with the smallest share left', async () => {
    await limit('1000')
    await limit('4', 'day', 'requests')
    expect(outcomeOf(await use('a', 900))).toBe('accepted 100')
    expect(outcomeOf(await use('b', 10))).toBe('accepted 90')
    expect(outcomeOf(await use('c', 0))).toBe('accepted 90')
    expect(outcomeOf(await use('d', 0))).toBe('accepted 0')
    expect(outcomeOf(await use('e', 0))).toBe('quota_exceeded 0')
  })

  test('is that of one subject of one tenant', async () => {
    const other = await newTenant()
    await limit('10')
    await use('a', 10)
    expect(outcomeOf(await use('b', 5, { subject: 'customer-2' }))).toBe('accepted -')
    expect(outcomeOf(await other.send(JSON.stringify(cloudEvent('b', { tokens: 5 }))))).toBe('accepted -')
    await other.call('PUT', '/quota/customer-1/tokens', { limit: '10', window: 'month' })
    expect(outcomeOf(await other.send(JSON.stringify(cloudEvent('c', { tokens: 5 }))))).toBe('accepted 0')
  })
})

describe('at once (C3)', () => {
  test('balance 600, five requests of 500: one is taken, although none had its counter loaded', async () => {
    await use('earlier', 400)
    await limit('1000')
    const answers = await Promise.all(Array.from({ length: 5 }, (_, n) => use(`e-${n}`, 500)))
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 429, 429, 429, 429])
    expect(outcomeOf(await use('rest', 100))).toBe('accepted 0')
  })

  test('forty subjects in one request are loaded and drawn together', async () => {
    for (let n = 0; n < 40; n++) await limit('10', 'day', 'tokens', `s-${n}`)
    const events = Array.from({ length: 80 }, (_, n) => cloudEvent(`e-${n}`, { tokens: 6 }, { subject: `s-${n % 40}` }))
    const answer = await tenant.send(JSON.stringify(events))
    expect(answer).toMatchObject({ status: 202, body: { accepted: 40, quota_exceeded: 40 } })
  })
})

test('usage never exceeds the limit, whatever was refused', async () => {
  await limit('50')
  for (let n = 0; n < 10; n++) await Promise.all([use(`a-${n}`, 7), use(`b-${n}`, 5), use(`a-${n}`, 7)])
  await metering.settled()
  const usage = await tenant.call('GET', '/usage?meter=tokens&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z')
  const { quantity } = usage.body.total as { quantity: string }
  expect(Number(quantity)).toBeLessThanOrEqual(50)
  expect(Number(quantity)).toBeGreaterThan(45)
})
