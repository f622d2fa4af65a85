import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../agreements/subscriptions/changing-world.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { createFeesWorld, type FeesWorld, HALF_DECEMBER } from './fees-world.ts'

const FEBRUARY = Date.UTC(2024, 1, 1)
const MARCH = Date.UTC(2024, 2, 1)
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Customer a on a plan of 100.00 a month and 1.00 a call, with one of 300.00 beside it; it is the first of November. */
async function opened(): Promise<FeesWorld> {
  worlds += 1
  const world = await createFeesWorld(database, `fees-${worlds}`)
  const calls = {
    ...{ key: 'calls', name: 'Calls', meter: 'context_tokens' },
    price: { model: 'per_unit', unit_amount: '1' } as const,
  }
  const base = (amount: string) => ({
    key: 'base',
    name: 'Base',
    meter: null,
    price: { model: 'flat', amount } as const,
  })
  await world.ahead('small', '', { charges: [base('100.00'), calls] })
  await world.ahead('large', '', { charges: [base('300.00'), calls] })
  world.clock.nowMs = NOVEMBER
  await world.subscribe('a', { plan: 'small', endMs: null })
  return world
}

describe('fees are billed in advance, usage in arrears (billing-rules, Proration)', () => {
  test('the first fee on an invoice of its own at the start, then each with the usage of the period before', async () => {
    const world = await opened()
    await world.runAt(NOVEMBER)
    expect(await world.billed()).toEqual(['11-01 small base 100.00 = 100.00'])
    const [first] = await world.invoices()
    expect(first).toMatchObject({ offCycle: true, periodStartMs: NOVEMBER, periodEndMs: DECEMBER, state: 'paid' })
    world.use('a', 'context_tokens', '7', NOVEMBER + DAY_MS)
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    await world.runAt(DECEMBER + 3 * HOUR_MS)
    expect((await world.billed()).slice(1)).toEqual(['12-01 small base 100.00, 11-01 small calls 7.00 = 107.00'])
  })

  test('the preview of a period is the invoice that comes', async () => {
    const world = await opened()
    // Before the first fee is billed, and behind that.
    expect((await world.preview('a')).draft.totalMinor).toBe(10_000n)
    await world.runAt(NOVEMBER)
    world.use('a', 'context_tokens', '7', NOVEMBER + DAY_MS)
    world.clock.nowMs = DECEMBER - HOUR_MS
    const { draft } = await world.preview('a')
    expect(draft.lines.map(({ amountMinor }) => amountMinor)).toEqual([10_000n, 700n])
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    const invoice = (await world.invoices()).find(({ offCycle }) => !offCycle)
    expect(invoice?.lines.map(({ breakdown, amountMinor }) => [breakdown, amountMinor])).toEqual(
      draft.lines.map(({ breakdown, amountMinor }) => [breakdown, amountMinor]),
    )
  })

  test('an upgrade at half takes −unused of the old and adds unused of the new, as its preview says', async () => {
    const world = await opened()
    await world.runAt(NOVEMBER)
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    world.clock.nowMs = HALF_DECEMBER
    const { change, draft } = await world.preview('a', 'large')
    expect(change).toMatchObject({ creditMinor: -5_000n, chargeMinor: 15_000n })
    await world.toPlan('a', 'large', null, 'once')
    await world.toPlan('a', 'large', null, 'once')
    await world.runAt(JANUARY + 2 * HOUR_MS)
    const wanted = [
      ...['12-01 small base -50.00', '12-16 large base 150.00', '01-01 large base 300.00'],
      ...['12-01 small calls 0.00', '12-16 large calls 0.00 = 400.00'],
    ].join(', ')
    expect((await world.billed()).at(-1)).toBe(wanted)
    expect(draft.totalMinor).toBe(40_000n)
    await world.runAt(FEBRUARY + 2 * HOUR_MS)
    expect((await world.billed()).at(-1)).toBe('02-01 large base 300.00, 01-01 large calls 0.00 = 300.00')
    expect(await world.wrong()).toEqual([])
  })

  test('a downgrade takes effect with the next fee, and nothing is settled', async () => {
    const world = await opened()
    await world.toPlan('a', 'large')
    await world.runAt(NOVEMBER)
    world.clock.nowMs = NOVEMBER + DAY_MS
    expect((await world.preview('a', 'small')).change).toMatchObject({ creditMinor: 0n, chargeMinor: 0n })
    await world.toPlan('a', 'small')
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    expect(await world.billed()).toEqual([
      '11-01 large base 300.00 = 300.00',
      '12-01 small base 100.00, 11-01 large calls 0.00 = 100.00',
    ])
  })

  test('from arrears to advance and back, every part of a fee is billed once', async () => {
    const world = await opened()
    await world.fee('behind', '31.00')
    await world.runAt(NOVEMBER)
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    world.clock.nowMs = HALF_DECEMBER
    await world.toPlan('a', 'behind', 'now')
    world.clock.nowMs = HALF_DECEMBER + 10 * DAY_MS
    await world.toPlan('a', 'large', 'now')
    await world.runAt(JANUARY + 2 * HOUR_MS)
    // 300.00 × 5.5 ÷ 31 from 26 December on.
    expect((await world.billed()).at(-1)).toBe(
      [
        ...['12-01 small base -50.00', '12-26 large base 53.23', '01-01 large base 300.00'],
        ...['12-01 small calls 0.00', '12-16 behind base 10.00', '12-26 large calls 0.00 = 313.23'],
      ].join(', '),
    )
    expect(await world.wrong()).toEqual([])
  })

  test('a subscription that begins years ago, and whose runs come late, pays each period once', async () => {
    const world = await opened()
    await world.runAt(MARCH + 2 * HOUR_MS)
    await world.runAt(MARCH + 3 * HOUR_MS)
    expect((await world.billed()).map((text) => text.slice(0, 23))).toEqual([
      '11-01 small base 100.00',
      '12-01 small base 100.00',
      '01-01 small base 100.00',
      '02-01 small base 100.00',
      '03-01 small base 100.00',
    ])
    expect(await world.wrong()).toEqual([])
  })

  test('P6: 18 months of 249.95 are 18 times exactly that; behind the end of the contract there is no fee', async () => {
    worlds += 1
    const world = await createFeesWorld(database, `fees-${worlds}`)
    await world.ahead('p6', '249.95')
    const startMs = Date.UTC(2022, 5, 1, 8)
    await world.subscribe('a', { plan: 'p6', timezone: 'America/Juneau', startMs, endMs: Date.UTC(2023, 11, 1, 9) })
    await world.runAt(JANUARY)
    const lines = (await world.invoices()).flatMap((invoice) => invoice.lines)
    expect(lines.map(({ amountMinor }) => amountMinor)).toEqual(Array.from({ length: 18 }, () => 24_995n))
    expect((await world.read('a')).state).toBe('ended')
  })

  test('a calendar period that is cut at its start costs its share, and one of another length than the first too', async () => {
    worlds += 1
    const world = await createFeesWorld(database, `fees-${worlds}`)
    await world.ahead('month', '100.00')
    await world.subscribe('a', { plan: 'month', startMs: HALF_DECEMBER, endMs: JANUARY + 15.5 * DAY_MS })
    await world.runAt(HALF_DECEMBER)
    await world.runAt(JANUARY + 2 * HOUR_MS)
    await world.runAt(JANUARY + 16 * DAY_MS)
    expect(await world.billed()).toEqual([
      '12-16 month base 50.00 = 50.00',
      '01-01 month base 50.00 = 50.00',
      ' = 0.00',
    ])
    expect(await world.wrong()).toEqual([])
  })
})

describe('what changed since a fee was billed is settled by difference', () => {
  test('cancelled now, the last invoice gives −unused back, and what is below 0 becomes balance', async () => {
    const world = await opened()
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    world.use('a', 'context_tokens', '7', DECEMBER + DAY_MS)
    world.clock.nowMs = HALF_DECEMBER
    await world.change('a', { cancel: 'now' })
    await world.runAt(HALF_DECEMBER + 2 * HOUR_MS)
    await world.runAt(JANUARY + 2 * HOUR_MS)
    expect((await world.billed()).slice(2)).toEqual(['12-01 small base -50.00, 12-01 small calls 7.00 = -43.00'])
    const invoice = (await world.invoices()).find(({ totalMinor }) => totalMinor < 0n)
    expect(invoice).toMatchObject({ balanceMinor: -4_300n, amountDueMinor: 0n })
    expect(await world.wrong()).toEqual([])
  })

  test('cancelled now with none, nothing is given back', async () => {
    const world = await opened()
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    world.clock.nowMs = HALF_DECEMBER
    await world.toPlan('a', 'large')
    world.clock.nowMs = HALF_DECEMBER + HOUR_MS
    await world.change('a', { cancel: 'now', fees: 'none' })
    expect(await world.read('a')).toMatchObject({ feesUntilMs: JANUARY, endMs: HALF_DECEMBER + HOUR_MS })
    await world.runAt(HALF_DECEMBER + 3 * HOUR_MS)
    // The upgrade before it is settled as if it went on.
    expect((await world.billed()).at(-1)).toBe(
      '12-01 small base -50.00, 12-16 large base 150.00, 12-01 small calls 0.00, 12-16 large calls 0.00 = 100.00',
    )
    expect(await world.wrong()).toEqual([])
  })

  test('cancelled with the period, no fee comes after it', async () => {
    const world = await opened()
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    world.clock.nowMs = HALF_DECEMBER
    await world.change('a', { cancel: 'period_end' })
    await world.runAt(JANUARY + 2 * HOUR_MS)
    await world.runAt(FEBRUARY + 2 * HOUR_MS)
    expect((await world.billed()).slice(2)).toEqual(['12-01 small calls 0.00 = 0.00'])
  })

  test('cancelled in the minute in which the fee was billed, it is given back but for a minute', async () => {
    const world = await opened()
    await world.runAt(NOVEMBER)
    world.clock.nowMs = NOVEMBER + 30_000
    await world.change('a', { cancel: 'now' })
    expect(await world.read('a')).toMatchObject({ state: 'cancelled', endMs: NOVEMBER + MINUTE_MS })
    await world.runAt(NOVEMBER + 2 * HOUR_MS)
    expect((await world.billed()).slice(1)).toEqual(['11-01 small base -100.00, 11-01 small calls 0.00 = -100.00'])
    expect(await world.read('a')).toMatchObject({ state: 'ended' })
  })

  test('a cancellation that is taken back leaves the fee as it was', async () => {
    const world = await opened()
    await world.runAt(NOVEMBER)
    await world.change('a', { cancel: 'period_end' })
    await world.change('a', { cancel: null })
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    expect((await world.billed()).at(-1)).toBe('12-01 small base 100.00, 11-01 small calls 0.00 = 100.00')
  })

  test('a pause gives back what it takes of the period, and the resumption is billed when it comes', async () => {
    const world = await opened()
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    world.clock.nowMs = HALF_DECEMBER
    await world.change('a', { pause: 'now', bill: false })
    await world.runAt(JANUARY + 2 * HOUR_MS)
    expect((await world.billed()).at(-1)).toBe('12-01 small base -50.00, 12-01 small calls 0.00 = -50.00')
    world.clock.nowMs = JANUARY + 15.5 * DAY_MS
    await world.change('a', { resume: 'now' })
    await world.runAt(JANUARY + 15.5 * DAY_MS)
    expect((await world.billed()).at(-1)).toBe('01-16 small base 50.00 = 50.00')
    await world.runAt(FEBRUARY + 2 * HOUR_MS)
    expect((await world.billed()).at(-1)).toBe('02-01 small base 100.00, 01-16 small calls 0.00 = 100.00')
    expect(await world.wrong()).toEqual([])
  })

  test('P3: the fee behind a trial is due as the trial ends, by days', async () => {
    worlds += 1
    const world = await createFeesWorld(database, `fees-${worlds}`)
    await world.ahead('p3', '50000.00', { prorationBasis: 'day' })
    world.clock.nowMs = Date.UTC(2024, 2, 5, 12, 12)
    await world.subscribe('other', { plan: 'p3', startMs: MARCH, endMs: null })
    await world.create({
      externalKey: 'p',
      customer: 'other',
      planKey: 'p3',
      startMs: world.clock.nowMs,
      trial: { days: 10 },
    })
    await world.runAt(Date.UTC(2024, 2, 15, 12, 11))
    expect((await world.billed()).length).toBe(1)
    await world.runAt(Date.UTC(2024, 2, 15, 12, 12))
    expect((await world.billed()).at(-1)).toBe('03-15 p3 base 27419.35 = 27419.35')
  })

  test('a trial over several periods is billed from its end on, and cancelled before that never', async () => {
    worlds += 1
    const world = await createFeesWorld(database, `fees-${worlds}`)
    await world.ahead('month', '100.00')
    world.clock.nowMs = NOVEMBER
    await world.subscribe('x', { plan: 'month', startMs: JANUARY, endMs: null })
    for (const externalKey of ['stays', 'goes']) {
      const trial = { endMs: HALF_DECEMBER }
      await world.create({ externalKey, customer: 'x', planKey: 'month', startMs: NOVEMBER, trial })
    }
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    expect(await world.billed()).toEqual([' = 0.00', ' = 0.00'])
    await world.change('goes', { cancel: 'now' })
    await world.runAt(HALF_DECEMBER)
    expect((await world.billed()).filter((text) => text !== ' = 0.00')).toEqual(['12-16 month base 50.00 = 50.00'])
    await world.runAt(JANUARY + 2 * HOUR_MS)
    // That of x, which begins, and of the one that stays.
    expect((await world.billed()).slice(-2)).toEqual([
      '01-01 month base 100.00 = 100.00',
      '01-01 month base 100.00 = 100.00',
    ])
    expect(await world.wrong()).toEqual([])
  })

  test('a true-up to the minimum of a fee is given back with it', async () => {
    worlds += 1
    const world = await createFeesWorld(database, `fees-${worlds}`)
    const price = { model: 'flat', amount: '40.00', minimum_amount: '100.00' } as const
    await world.ahead('least', '', { charges: [{ key: 'base', name: 'Base', meter: null, price }] })
    world.clock.nowMs = DECEMBER
    await world.subscribe('a', { plan: 'least', startMs: DECEMBER, endMs: null })
    await world.runAt(DECEMBER)
    world.clock.nowMs = HALF_DECEMBER
    await world.change('a', { cancel: 'now' })
    await world.runAt(HALF_DECEMBER + 2 * HOUR_MS)
    expect(await world.billed()).toEqual([
      '12-01 least base 40.00, 12-01 least base 60.00 = 100.00',
      '12-01 least base -50.00 = -50.00',
    ])
    expect(await world.wrong()).toEqual([])
  })
})
