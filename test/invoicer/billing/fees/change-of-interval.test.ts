import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../agreements/subscriptions/changing-world.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { createFeesWorld, type FeesWorld, HALF_DECEMBER } from './fees-world.ts'

const FEBRUARY = Date.UTC(2024, 1, 1)
const HALF_DECEMBER_2024 = Date.UTC(2024, 11, 16, 12)
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Customer a on a plan of 100.00 a month and 1.00 a call from November on, with years and days of the same beside it. */
async function opened(): Promise<FeesWorld> {
  worlds += 1
  const world = await createFeesWorld(database, `anew-${worlds}`)
  const charges = (amount: string) => [
    { key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount } as const },
    { key: 'calls', name: 'Calls', meter: 'context_tokens', price: { model: 'per_unit', unit_amount: '1' } as const },
  ]
  const anniversary = { alignment: 'anniversary' } as const
  await world.ahead('month', '', { charges: charges('100.00') })
  await world.ahead('year', '', { charges: charges('1220.00'), interval: 'year', ...anniversary })
  await world.ahead('cheap', '', { charges: charges('1000.00'), interval: 'year', ...anniversary })
  await world.ahead('weeks', '', { charges: charges('70.00'), interval: 'week', every: 2, ...anniversary })
  await world.ahead('behind', '', { charges: charges('730.00'), interval: 'year', fees: 'in_arrears', ...anniversary })
  world.clock.nowMs = NOVEMBER
  await world.subscribe('a', { plan: 'month', endMs: null })
  return world
}

/** TCP-2; billing-rules, Proration: a change of interval starts a new period at the change. */
describe('a change to a plan with other periods', () => {
  test('cuts the period that runs, gives the rest of its fee back and begins a new one', async () => {
    const world = await opened()
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    world.use('a', 'context_tokens', '3', DECEMBER + DAY_MS)
    world.clock.nowMs = HALF_DECEMBER
    const preview = await world.preview('a', 'year')
    expect(preview.change).toMatchObject({ creditMinor: -5_000n, chargeMinor: 122_000n, atMs: HALF_DECEMBER })
    await world.toPlan('a', 'year')
    expect(await world.read('a')).toMatchObject({ nextPeriod: { startMs: DECEMBER, endMs: HALF_DECEMBER } })
    world.use('a', 'context_tokens', '4', HALF_DECEMBER)
    await world.runAt(HALF_DECEMBER + 2 * HOUR_MS)
    expect((await world.billed()).slice(2)).toEqual([
      '12-01 month base -50.00, 12-16 year base 1220.00, 12-01 month calls 3.00 = 1173.00',
    ])
    expect(preview.draft.totalMinor).toBe(117_300n)
    expect(await world.read('a')).toMatchObject({ nextPeriod: { startMs: HALF_DECEMBER, endMs: HALF_DECEMBER_2024 } })
    await world.runAt(JANUARY + 2 * HOUR_MS)
    expect(await world.billed()).toHaveLength(3)
    await world.runAt(HALF_DECEMBER_2024 + 2 * HOUR_MS)
    expect((await world.billed()).at(-1)).toBe('12-16 year base 1220.00, 12-16 year calls 4.00 = 1224.00')
    expect(await world.wrong()).toEqual([])
  })

  test('waits for the end of the period where the fee of a day is lower, and can be taken back till then', async () => {
    const world = await opened()
    await world.runAt(NOVEMBER)
    world.clock.nowMs = NOVEMBER + DAY_MS
    const before = await world.read('a')
    await world.toPlan('a', 'cheap')
    expect(await world.read('a')).toMatchObject({ nextPeriod: { startMs: NOVEMBER, endMs: DECEMBER } })
    await world.toPlan('a', null)
    expect(await world.read('a')).toEqual(before)
    await world.toPlan('a', 'cheap')
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    expect((await world.billed()).at(-1)).toBe('12-01 cheap base 1000.00, 11-01 month calls 0.00 = 1000.00')
    expect(await world.read('a')).toMatchObject({ nextPeriod: { startMs: DECEMBER, endMs: Date.UTC(2024, 11, 1) } })
  })

  test('there and back within the period leaves the part between, each with its own periods', async () => {
    const world = await opened()
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    world.clock.nowMs = HALF_DECEMBER
    await world.toPlan('a', 'weeks', 'now')
    // A quarter of two weeks later, before anything was billed of it.
    world.clock.nowMs = HALF_DECEMBER + 3.5 * DAY_MS
    await world.toPlan('a', 'month', 'now')
    await world.runAt(JANUARY + 2 * HOUR_MS)
    const billed = (await world.billed()).slice(2)
    // Calendar months again: 12 of 31 days are left of December, and January begins a whole one.
    expect(billed).toEqual([
      '12-01 month base -50.00, 12-16 weeks base 17.50, 12-01 month calls 0.00 = -32.50',
      '12-20 month base 38.71, 12-16 weeks calls 0.00 = 38.71',
      '01-01 month base 100.00, 12-20 month calls 0.00 = 100.00',
    ])
    expect(await world.wrong()).toEqual([])
    expect(await world.read('a')).toMatchObject({ nextPeriod: { startMs: JANUARY, endMs: FEBRUARY } })
  })

  test('after the fee of the new period was billed, that is settled as any other', async () => {
    const world = await opened()
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    world.clock.nowMs = HALF_DECEMBER
    await world.toPlan('a', 'weeks', 'now')
    await world.runAt(HALF_DECEMBER + 2 * HOUR_MS)
    world.clock.nowMs = HALF_DECEMBER + 7 * DAY_MS
    await world.change('a', { cancel: 'now' })
    await world.runAt(HALF_DECEMBER + 8 * DAY_MS)
    expect((await world.billed()).slice(2)).toEqual([
      '12-01 month base -50.00, 12-16 weeks base 70.00, 12-01 month calls 0.00 = 20.00',
      '12-16 weeks base -35.00, 12-16 weeks calls 0.00 = -35.00',
    ])
    expect(await world.wrong()).toEqual([])
  })

  test('of fees in arrears the cut period costs its share, and usage that comes late is billed by its own plan', async () => {
    const world = await opened()
    await world.fee('cents', '31.00', { model: 'per_unit', unit_amount: '0.01' })
    await world.subscribe('b', { plan: 'cents', startMs: DECEMBER, endMs: null })
    world.clock.nowMs = HALF_DECEMBER
    await world.toPlan('b', 'behind', 'now')
    await world.runAt(HALF_DECEMBER + 2 * HOUR_MS)
    const ofB = async () => (await world.billed()).filter((text) => /cents|behind/.test(text))
    expect(await ofB()).toEqual(['12-01 cents base 15.50, 12-01 cents calls 0.00 = 15.50'])
    world.use('b', 'context_tokens', '100', DECEMBER + DAY_MS, HALF_DECEMBER + 3 * HOUR_MS)
    world.use('b', 'context_tokens', '2', HALF_DECEMBER, HALF_DECEMBER + 3 * HOUR_MS)
    world.clock.nowMs = HALF_DECEMBER + DAY_MS
    await world.change('b', { cancel: 'now' })
    await world.runAt(HALF_DECEMBER + 2 * DAY_MS)
    // 730.00 for 366 days, of which one is served.
    expect((await ofB()).slice(1)).toEqual([
      '12-16 behind base 1.99, 12-16 behind calls 2.00, 12-01 cents calls 1.00 = 4.99',
    ])
    expect(await world.wrong()).toEqual([])
  })

  test('in the minute in which the fee was billed, gives that back at once and not with the new period', async () => {
    const world = await opened()
    await world.runAt(NOVEMBER)
    await world.toPlan('a', 'year')
    await world.toPlan('a', 'year')
    expect(await world.read('a')).toMatchObject({ nextPeriod: { startMs: NOVEMBER, endMs: NOVEMBER + MINUTE_MS } })
    await world.runAt(NOVEMBER + 2 * HOUR_MS)
    expect((await world.billed()).slice(1)).toEqual([
      '11-01 month base -100.00, 11-01 year base 1220.00, 11-01 month calls 0.00 = 1120.00',
    ])
    expect(await world.wrong()).toEqual([])
  })

  test('before the start it takes the place of the first plan, with its periods', async () => {
    worlds += 1
    const world = await createFeesWorld(database, `anew-${worlds}`)
    await world.ahead('month', '100.00')
    await world.ahead('day', '1.00', { interval: 'day' })
    world.clock.nowMs = NOVEMBER
    await world.subscribe('c', { plan: 'month', startMs: DECEMBER, endMs: DECEMBER + 2 * DAY_MS })
    await world.toPlan('c', 'day')
    await world.runAt(DECEMBER + 3 * DAY_MS)
    expect(await world.billed()).toEqual(['12-01 day base 1.00 = 1.00', '12-02 day base 1.00 = 1.00', ' = 0.00'])
    expect(await world.wrong()).toEqual([])
  })
})
