import { describe, expect, test } from 'vitest'
import type { QuotaOptions } from '../../sdk/typescript/src/tallyline.ts'
import { clientOf } from './support/client.ts'
import { quotaClient } from './support/quota-client.ts'
import { quotaModel } from './support/quota-model.ts'
import type { Script } from './support/scripted-server.ts'

describe('the server is away', () => {
  const broken: { name: string; answer: Script }[] = [
    { name: 'no answer', answer: () => Promise.reject(new TypeError('fetch failed')) },
    { name: 'never an answer', answer: () => new Promise(() => undefined) },
    { name: '503', answer: () => ({ status: 503 }) },
    { name: '403', answer: () => ({ status: 403, body: { code: 'forbidden' } }) },
    { name: 'an answer without a lease', answer: () => ({ status: 200, body: 'login page' }) },
  ]
  test.each(broken)('$name: open or closed as told, without waiting more than once', async ({ answer }) => {
    for (const whenAway of ['open', 'closed'] as const) {
      const { check, decide, clock, asked, tallyline } = quotaClient(10, { whenAway }, () => answer)
      const first = check('customer-1', 'tokens')
      await clock.pass(2_000)
      const away = { allowed: whenAway === 'open', reason: 'server_away', hold: undefined }
      expect(await first).toEqual(away)
      for (let n = 0; n < 1_000; n++) expect(decide('customer-1', 'tokens')).toEqual(away)
      expect(asked().length).toBeLessThanOrEqual(2)
      expect(tallyline.stats().leaseFailures).toBeGreaterThan(0)
    }
  })

  test('an answer that was lost is asked for again with the same key: nothing is held twice', async () => {
    let lost = 0
    const { decide, check, clock, asked, model } = quotaClient(100, {}, (script) => async (sent, index) => {
      const answer = await script(sent, index)
      if (lost++ === 0) throw new TypeError('connection reset')
      return answer
    })
    await check('customer-1', 'tokens')
    await clock.pass(200)
    decide('customer-1', 'tokens')
    await clock.pass(0)
    expect(decide('customer-1', 'tokens')?.reason).toBe('lease')
    expect(new Set(asked().map(({ headers }) => headers['idempotency-key'])).size).toBe(1)
    expect(model.counter()).toBe(10)
  })
})

/** A service with many customers, and a server that is away for all of them. */
describe('the server is away for everybody', () => {
  const awayUntil = (upMs: number, answer: Script) =>
    quotaClient(1_000_000, {}, (script, nowMs) => (sent, index) => {
      return nowMs() < upMs ? answer(sent, index) : script(sent, index)
    })
  const awayLater = (limit: number | null, quota: QuotaOptions) =>
    quotaClient(limit, quota, (script, nowMs) => (sent, index) => {
      return nowMs() > 0 ? { status: 503 } : script(sent, index)
    })
  const silent: Script = () => new Promise(() => undefined)

  test('only the first waits: a subject that is new is decided at once, with no request of its own', async () => {
    const { check, decide, clock, asked } = awayUntil(1e9, silent)
    const first = check('customer-0', 'tokens')
    await clock.pass(2_000)
    expect((await first).reason).toBe('server_away')
    for (let n = 0; n < 1_000; n++) expect(decide(`customer-${n}`, 'tokens')?.reason).toBe('server_away')
    expect(asked()).toHaveLength(1)
    for (let n = 0; n < 600; n++) {
      await clock.pass(100)
      expect((await check(`later-${n}`, 'tokens')).reason).toBe('server_away')
    }
    // A minute: one request at a time, up to its timeout and up to 5 s after the one before.
    expect(asked().length).toBeGreaterThan(5)
    expect(asked().length).toBeLessThan(25)
  })

  test('it is found again by one request, and then everybody gets leases', async () => {
    const { check, decide, clock } = awayUntil(10_000, () => ({ status: 503 }))
    await check('customer-0', 'tokens')
    for (let n = 0; n < 200; n++) {
      await clock.pass(100)
      decide('customer-0', 'tokens')
    }
    expect((await check('customer-1', 'tokens')).reason).toBe('lease')
  })

  test('Retry-After is kept', async () => {
    const { check, decide, clock, asked } = awayUntil(1e9, () => ({ status: 503, headers: { 'retry-after': '30' } }))
    await check('customer-0', 'tokens')
    for (let n = 0; n < 29; n++) {
      await clock.pass(1_000)
      expect(decide(`customer-${n}`, 'tokens')?.reason).toBe('server_away')
    }
    expect(asked()).toHaveLength(1)
    await clock.pass(1_200)
    decide('customer-0', 'tokens')
    expect(asked()).toHaveLength(2)
  })

  test('after a time in which nobody asked, the next waits for an answer again', async () => {
    const { check, clock } = awayUntil(1_000, () => ({ status: 503 }))
    expect((await check('customer-0', 'tokens')).reason).toBe('server_away')
    await clock.pass(60_000)
    expect((await check('customer-1', 'tokens')).reason).toBe('lease')
  })

  test('at most 64 requests at once, and none after the patience of who waits', async () => {
    const { check, clock, asked } = awayUntil(1e9, silent)
    const all = Array.from({ length: 1_000 }, (_, n) => check(`customer-${n}`, 'tokens'))
    await clock.pass(1_000)
    expect(asked()).toHaveLength(64)
    await clock.pass(1_000)
    expect(new Set((await Promise.all(all)).map(({ reason }) => reason))).toEqual(new Set(['server_away']))
    expect(asked()).toHaveLength(64)
    // They failed together, which is one failure: the next may ask 100 ms later.
    await clock.pass(100)
    check('customer-0', 'tokens')
    expect(asked()).toHaveLength(65)
  })

  test('a thousand new subjects at once get their leases 64 at a time', async () => {
    const { check, asked } = quotaClient(1_000_000)
    const all = await Promise.all(Array.from({ length: 1_000 }, (_, n) => check(`customer-${n}`, 'tokens')))
    expect(all.every(({ reason }) => reason === 'lease')).toBe(true)
    expect(asked()).toHaveLength(1_000)
  })

  test('a lease is renewed ahead of time, but not more often than a server that is away may be asked', async () => {
    const { check, decide, clock, asked } = awayLater(1_000_000, { firstQuantity: 1_000 })
    await check('customer-1', 'tokens', 700)
    await clock.pass(1)
    for (let n = 0; n < 90; n++) {
      expect(decide('customer-1', 'tokens')?.reason).toBe('lease')
      await clock.pass(1)
    }
    // The first lease, and one that was asked for ahead; its retry waits 100 ms.
    expect(asked()).toHaveLength(2)
  })

  test('nor is the question whether there is still no limit', async () => {
    const { check, decide, clock, asked } = awayLater(null, { idleMs: 1e9 })
    await check('customer-1', 'tokens')
    await clock.pass(25_000)
    for (let n = 0; n < 90; n++) {
      expect(decide('customer-1', 'tokens')?.reason).toBe('no_limit')
      await clock.pass(1)
    }
    expect(asked()).toHaveLength(2)
  })
})

describe('a subject that the server refuses', () => {
  const forbidden: Script = () => ({ status: 403, body: { code: 'forbidden', detail: 'The key has another scope.' } })
  const refusing = (quota: QuotaOptions = {}) =>
    quotaClient(1_000, quota, (script) => (sent, index) => {
      return (sent.body as { subject?: string }).subject === 'stranger' ? forbidden(sent, index) : script(sent, index)
    })

  test('is told, and says nothing about the others', async () => {
    const told: object[] = []
    const { check, tallyline } = refusing({ onFailure: (failure) => told.push(failure) })
    expect((await check('stranger', 'tokens')).reason).toBe('server_away')
    expect((await check('customer-1', 'tokens')).reason).toBe('lease')
    const message = 'forbidden: The key has another scope.'
    expect(told).toEqual([{ subject: 'stranger', meter: 'tokens', status: 403, message }])
    expect(tallyline.stats()).toMatchObject({ leaseFailures: 1, latestLeaseError: message })
  })

  test('what the callback throws is counted and stops no decision', async () => {
    const onFailure = () => {
      throw new Error('mine')
    }
    const { check, tallyline } = refusing({ onFailure })
    expect((await check('stranger', 'tokens')).allowed).toBe(true)
    expect(tallyline.stats().callbackErrors).toBe(1)
  })
})

test('an error in the client itself ends in a decision, not in the process', async () => {
  const fillRandom = () => {
    throw new Error('no randomness')
  }
  const { tallyline } = clientOf(quotaModel(10, () => 0).answer, { fillRandom })
  expect((await tallyline.check('customer-1', 'tokens')).reason).toBe('server_away')
  expect(tallyline.stats().latestLeaseError).toContain('no randomness')
})
