import { describe, expect, test } from 'vitest'
import { nextLease } from '../../sdk/typescript/src/lease-size.ts'
import { decimalOf, microOf, microOfDecimal } from '../../sdk/typescript/src/micro.ts'
import { settingsOf } from '../../sdk/typescript/src/settings.ts'
import { quotaClient } from './support/quota-client.ts'

describe('decisions in the process', () => {
  test('the first waits for a lease, those after it are made at once from it', async () => {
    const { check, decide, asked } = quotaClient(1_000_000)
    expect(decide('customer-1', 'tokens')).toBeUndefined()
    const first = await check('customer-1', 'tokens')
    expect(first).toEqual({ allowed: true, reason: 'lease', hold: expect.stringMatching(/^lease-/) })
    expect(decide('customer-1', 'tokens', 5)).toBe(first)
    expect(asked()).toMatchObject([
      { body: { subject: 'customer-1', meter: 'tokens', quantity: '10', expires_in_ms: 30_000 } },
    ])
  })

  test('one request for thousands of decisions, once the rate is known', async () => {
    const { check, decide, asked, clock, model } = quotaClient(10_000_000)
    await check('customer-1', 'tokens')
    let undecided = 0
    for (let n = 0; n < 60_000; n++) {
      if (n % 10 === 0) await clock.pass(10)
      if (!decide('customer-1', 'tokens')?.allowed) undecided++
    }
    // A minute at 1,000 decisions a second.
    // Only at the start, when ten units are all there is.
    expect(undecided).toBeLessThanOrEqual(2)
    expect(asked().length).toBeLessThan(30)
    // Issue 6: below 1 % of the limit is outstanding.
    const held = [...model.holds.values()].reduce((sum, { left }) => sum + left / 1e6, 0)
    expect(held - 60_001).toBeLessThan(100_000)
  })

  test('what is used up is refused at once, and asked again only later', async () => {
    const { check, decide, asked, clock } = quotaClient(3)
    for (let n = 0; n < 3; n++) expect((await check('customer-1', 'tokens')).allowed).toBe(true)
    const refused = { allowed: false, reason: 'limit_exceeded', hold: undefined }
    expect(await check('customer-1', 'tokens')).toEqual(refused)
    const before = asked().length
    for (let n = 0; n < 1_000; n++) expect(decide('customer-1', 'tokens')).toEqual(refused)
    expect(asked()).toHaveLength(before)
    await clock.pass(1_000)
    expect(decide('customer-1', 'tokens')).toBeUndefined()
    expect(asked()).toHaveLength(before + 1)
  })

  test('a small rest is given away, and a large quantity refused beside it', async () => {
    const { check, decide } = quotaClient(5)
    expect((await check('customer-1', 'tokens', 8)).allowed).toBe(false)
    expect(decide('customer-1', 'tokens', 2)?.allowed).toBe(true)
    expect(decide('customer-1', 'tokens', 4)?.allowed).toBe(false)
    expect(decide('customer-1', 'tokens', 3)?.allowed).toBe(true)
  })

  test('what lies in two leases is exchanged for one when the server has no more', async () => {
    const { check, returned } = quotaClient(15)
    expect((await check('customer-1', 'tokens', 8)).allowed).toBe(true)
    expect((await check('customer-1', 'tokens', 1)).allowed).toBe(true)
    expect((await check('customer-1', 'tokens', 6)).allowed).toBe(true)
    expect(returned().length).toBeGreaterThan(0)
    expect((await check('customer-1', 'tokens')).allowed).toBe(false)
  })

  test('estimates that are corrected leave no gap, though each lease covers one alone', async () => {
    const { check, giveBack, asked } = quotaClient(300)
    let admitted = 0
    for (let n = 0; n < 10; n++) {
      const decision = await check('customer-1', 'tokens', 200)
      if (!decision.allowed) break
      admitted++
      giveBack(decision, 'customer-1', 'tokens', 180)
    }
    expect(admitted).toBe(6)
    expect(asked().length).toBeLessThan(20)
  })

  test('without a limit nothing is counted, and the question is asked again after the lease', async () => {
    const { check, decide, asked, clock } = quotaClient(null)
    expect(await check('customer-1', 'tokens', 1e9)).toEqual({ allowed: true, reason: 'no_limit', hold: undefined })
    for (let n = 0; n < 1_000; n++) expect(decide('customer-1', 'tokens', 1e9)?.reason).toBe('no_limit')
    expect(asked()).toHaveLength(1)
    for (let seconds = 0; seconds < 60; seconds++) {
      await clock.pass(1_000)
      expect(decide('customer-1', 'tokens')?.reason).toBe('no_limit')
    }
    expect(asked()).toHaveLength(3)
  })

  test('many who wait at once share one request, and the next covers them all', async () => {
    const { check, asked } = quotaClient(1_000_000)
    const all = await Promise.all(Array.from({ length: 500 }, () => check('customer-1', 'tokens')))
    expect(all.every(({ allowed }) => allowed)).toBe(true)
    expect(asked().length).toBeLessThanOrEqual(4)
  })

  test('a lease ends by the clock on the wall too, for a machine that slept', async () => {
    const { check, decide, clock } = quotaClient(1_000_000)
    await check('customer-1', 'tokens')
    clock.setBack(-31_000)
    expect(decide('customer-1', 'tokens')).toBeUndefined()
  })

  test('a clock on the wall that is set back lengthens nothing', async () => {
    const { check, decide, clock } = quotaClient(1_000_000, { idleMs: 1e9 })
    await check('customer-1', 'tokens')
    clock.setBack(3_600_000)
    await clock.pass(30_000)
    expect(decide('customer-1', 'tokens')).toBeUndefined()
  })

  test('no lease outlives the window of its limit', async () => {
    const { check, decide, clock } = quotaClient(1_000_000, {}, (script) => async (sent, index) => {
      const { status, body } = await script(sent, index)
      return { status, body: { ...(body as object), resets_at: '2026-11-21T12:00:05Z' } }
    })
    await check('customer-1', 'tokens')
    await clock.pass(4_000)
    expect(decide('customer-1', 'tokens')?.allowed).toBe(true)
    await clock.pass(1_000)
    expect(decide('customer-1', 'tokens')).toBeUndefined()
  })

  test('a check that is far too large does not keep the rest of the limit from others', async () => {
    const { check, decide, asked, model } = quotaClient(1_000_000)
    expect((await check('customer-1', 'tokens', 2_000_000)).reason).toBe('limit_exceeded')
    expect(model.counter()).toBe(0)
    // Nor is the server asked for each such check, or a smaller one refused.
    const before = asked().length
    for (let n = 0; n < 1_000; n++) expect(decide('customer-1', 'tokens', 2_000_000)?.reason).toBe('limit_exceeded')
    expect(asked()).toHaveLength(before)
    expect((await check('customer-1', 'tokens', 500)).allowed).toBe(true)
    expect((await check('customer-1', 'tokens')).allowed).toBe(true)
    expect(model.counter()).toBeLessThan(10_000)
  })

  test('who waits beside it gets what they need', async () => {
    const { check, asked, model } = quotaClient(1_000)
    const quantities = [1, 5_000, 2, 3]
    const decided = await Promise.all(quantities.map((quantity) => check('customer-1', 'tokens', quantity)))
    expect(decided.map(({ reason }) => reason)).toEqual(['lease', 'limit_exceeded', 'lease', 'lease'])
    expect(asked().length).toBeLessThanOrEqual(4)
    expect(model.counter()).toBeLessThan(100)
  })

  test('while leases are exchanged, work that one of them had covered waits instead of being refused', async () => {
    const { check, giveBack, returned } = quotaClient(15)
    await check('customer-1', 'tokens', 6)
    giveBack(await check('customer-1', 'tokens', 5), 'customer-1', 'tokens', 4)
    // Two leases with four each.
    const [large, small] = await Promise.all([check('customer-1', 'tokens', 6), check('customer-1', 'tokens', 2)])
    expect(returned()).toHaveLength(2)
    expect([large.allowed, small.allowed]).toEqual([true, true])
  })

  test('nothing is a quantity: allowed while anything is left', async () => {
    const { check, asked, model } = quotaClient(10)
    expect(await check('customer-1', 'tokens', 0)).toMatchObject({ allowed: true, reason: 'lease' })
    expect(asked()).toHaveLength(1)
    expect((await check('customer-1', 'tokens', 10)).allowed).toBe(true)
    expect((await check('customer-1', 'tokens', 0)).reason).toBe('limit_exceeded')
    expect(model.counter()).toBe(10)
  })

  test('a lease from which only nothing was taken is renewed by one of something', async () => {
    const { check, decide, asked, clock } = quotaClient(1_000, { idleMs: 1e9 })
    await check('customer-1', 'tokens', 0)
    await clock.pass(25_000)
    expect(decide('customer-1', 'tokens', 0)?.reason).toBe('lease')
    expect(asked().map(({ body }) => (body as { quantity: string }).quantity)).toEqual(['10', '0.000001'])
  })

  test('the time without a limit ends by the clock on the wall too', async () => {
    const { check, decide, clock } = quotaClient(null)
    await check('customer-1', 'tokens')
    clock.setBack(-31_000)
    expect(decide('customer-1', 'tokens')).toBeUndefined()
  })

  test.each([-1, Number.NaN, 1e12])('%s is no quantity', async (quantity) => {
    const { check, decide } = quotaClient(10)
    expect(() => decide('customer-1', 'tokens', quantity)).toThrow(RangeError)
    await expect(check('customer-1', 'tokens', quantity)).rejects.toThrow(RangeError)
  })
})

describe('what is unused goes back', () => {
  test('of a lease nobody draws from', async () => {
    const { check, clock, model, returned, tallyline } = quotaClient(1_000)
    await check('customer-1', 'tokens', 4)
    await clock.pass(4_000)
    expect(model.counter()).toBe(10)
    await clock.pass(2_000)
    expect(returned()).toMatchObject([{ body: { unused: '6' } }])
    expect(model.counter()).toBe(4)
    expect(tallyline.stats().accounts).toBe(0)
  })

  test('at close', async () => {
    const { check, clock, model, tallyline } = quotaClient(1_000)
    await check('customer-1', 'tokens', 4)
    const closed = tallyline.close()
    await clock.pass(100)
    await closed
    expect(model.counter()).toBe(4)
  })

  test('of a lease that is renewed before its end', async () => {
    const { check, decide, clock, model, returned } = quotaClient(1_000)
    await check('customer-1', 'tokens')
    for (let seconds = 0; seconds < 26; seconds++) {
      await clock.pass(1_000)
      expect(decide('customer-1', 'tokens')?.allowed).toBe(true)
    }
    expect(returned().length).toBeGreaterThan(0)
    expect(model.counter()).toBeLessThan(50)
  })

  test('work that was not done is given back to its lease', async () => {
    const { check, decide, giveBack } = quotaClient(10)
    const decision = await check('customer-1', 'tokens', 10)
    expect((await check('customer-1', 'tokens')).allowed).toBe(false)
    giveBack(decision, 'customer-1', 'tokens', 99)
    expect(decide('customer-1', 'tokens', 10)?.allowed).toBe(true)
    expect(decide('customer-1', 'tokens')?.allowed).toBe(false)
  })
})

describe('work that took something else than was asked for', () => {
  test('more is taken from the lease that admitted it, for so does the server', async () => {
    const { check, decide, takeMore, model } = quotaClient(20)
    const first = await check('customer-1', 'tokens', 10)
    const second = await check('customer-1', 'tokens', 4)
    expect(first.hold).not.toBe(second.hold)
    takeMore(first, 'customer-1', 'tokens', 5)
    expect(decide('customer-1', 'tokens', 6)).toBe(second)
    expect(model.counter()).toBe(20)
  })

  test('so what that lease has left is less', async () => {
    const { check, decide, takeMore } = quotaClient(10)
    takeMore(await check('customer-1', 'tokens', 4), 'customer-1', 'tokens', 3)
    expect(decide('customer-1', 'tokens', 4)?.allowed).not.toBe(true)
    expect((await check('customer-1', 'tokens', 3)).allowed).toBe(true)
  })

  test('a decision that was copied is known again', async () => {
    const { check, decide, giveBack } = quotaClient(10)
    giveBack({ ...(await check('customer-1', 'tokens', 10)) }, 'customer-1', 'tokens', 10)
    expect(decide('customer-1', 'tokens', 10)?.allowed).toBe(true)
  })
})

describe('consume', () => {
  const event = { type: 'llm.request', subject: 'customer-1', data: { quantity: 4 } }

  test('checks and emits an event that names its lease; the draw is taken from it', async () => {
    const { consume, clock, sent, model } = quotaClient(1_000)
    const { id, hold, allowed } = await consume(event, 'tokens', 4)
    expect(allowed).toBe(true)
    await clock.pass(200)
    expect(sent.at(-1)?.body).toMatchObject([{ id, tallyhold: hold }])
    expect(model.counter()).toBe(10)
  })

  test('emits nothing that is not allowed', async () => {
    const { consume, clock, sent } = quotaClient(3)
    expect(await consume(event, 'tokens', 4)).toEqual({
      allowed: false,
      reason: 'limit_exceeded',
      hold: undefined,
      id: undefined,
    })
    await clock.pass(1_000)
    expect(sent.filter(({ path }) => path === '/api/v1/events')).toEqual([])
  })

  test('takes nothing for an event that is none', async () => {
    const { consume, decide } = quotaClient(10)
    expect(await consume({ ...event, data: [] }, 'tokens', 10)).toMatchObject({ allowed: true, id: undefined })
    expect(decide('customer-1', 'tokens', 10)?.allowed).toBe(true)
  })
})

test('the time of a lease is a whole number of milliseconds, as the server wants it', () => {
  const options = { url: 'http://server.test', key: 'tly_test' }
  expect(() => settingsOf({ ...options, quota: { leaseMs: 1_500.5 } })).toThrow('quota.leaseMs must be whole')
})

describe('the size of a lease', () => {
  const { quota } = settingsOf({ url: 'http://server.test', key: 'tly_test' })
  const units = (demand: Partial<Parameters<typeof nextLease>[0]>) => {
    const unknown = { drawnMicro: 0, elapsedMs: 1_000, rate: undefined, neededMicro: 1e6, remainingMicro: 1e15 }
    return nextLease({ ...unknown, ...demand }, quota).micro / 1e6
  }

  test('ten units at first, or what is needed', () => {
    expect(units({})).toBe(10)
    expect(units({ neededMicro: 77e6 })).toBe(77)
  })

  test('five seconds at the present rate', () => {
    expect(units({ rate: 0, drawnMicro: 1_000e6 })).toBe(5_000)
    expect(units({ rate: 1e6, drawnMicro: 0 })).toBe(2_500)
  })

  test('half a percent of what remains, but a tenth of a second at least', () => {
    expect(units({ rate: 1e6, drawnMicro: 1_000e6, remainingMicro: 100_000e6 })).toBe(500)
    expect(units({ rate: 1e6, drawnMicro: 1_000e6, remainingMicro: 100e6 })).toBe(100)
  })
})

test('quantities are millionths, rounded up as on the server', () => {
  expect([1, 15.5, 0.1, 1.1, 0.0000001, 0].map(microOf)).toEqual([1e6, 15_500_000, 100_000, 1_100_000, 1, 0])
  expect([1e6, 15_500_000, 1, 0].map(decimalOf)).toEqual(['1', '15.5', '0.000001', '0'])
  expect(['1', '15.5', '0.0000019', '12345678901234567890', '-1', 'x', 7].map(microOfDecimal)).toEqual([
    1e6,
    15_500_000,
    1,
    9e15,
    undefined,
    undefined,
    undefined,
  ])
})
