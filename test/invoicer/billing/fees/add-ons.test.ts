import { afterAll, beforeAll, expect, test } from 'vitest'
import type { WantedAddOn } from '../../../../invoicer/agreements/subscriptions/change-add-ons.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS, HOUR_MS } from '../../agreements/subscriptions/changing-world.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { createFeesWorld, HALF_DECEMBER } from './fees-world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const HALF_NOVEMBER = NOVEMBER + 15 * DAY_MS
const EACH: Price = { model: 'per_unit', unit_amount: '1' }
const flat = (amount: string): Price => ({ model: 'flat', amount })
const metered = (key: string, meter: string) => ({ key, name: key, meter, price: EACH })
const fee = (amount: string, key = 'base') => ({ key, name: 'Fee', meter: null, price: flat(amount) })

/** A customer on a base plan of 50.00 with usage, from November on, and add-ons: support at 20.00, storage with usage. */
async function withBase(slug: string, fees: 'in_advance' | 'in_arrears') {
  const world = await createFeesWorld(database, slug)
  world.clock.nowMs = NOVEMBER
  const addOn = { kind: 'add_on' as const, fees }
  await world.plan({ key: 'base', fees, charges: [fee('50.00'), metered('calls', 'context_tokens')] })
  await world.plan({ ...addOn, key: 'support', charges: [fee('20.00')] })
  await world.plan({ ...addOn, key: 'storage', charges: [fee('3.00'), metered('bytes', 'generated_tokens')] })
  await world.plan({ ...addOn, key: 'same-meter', charges: [metered('more', 'context_tokens')] })
  await world.plan({ ...addOn, key: 'same-key', charges: [metered('calls', 'generated_tokens')] })
  await world.plan({ ...addOn, key: 'yearly', interval: 'year', charges: [fee('100.00')] })
  await world.ahead('later', '1.00')
  await world.subscribe('a', { plan: 'later', startMs: Date.UTC(2030, 0, 1), endMs: null })
  await world.create({ externalKey: 's', customer: 'a', planKey: 'base', startMs: NOVEMBER })
  const addOns = (...wanted: readonly (readonly [string, string])[]): WantedAddOn[] =>
    wanted.map(([plan, quantity]) => ({ plan, quantity }))
  const attach = (...wanted: readonly (readonly [string, string])[]) =>
    world.change('s', { addOns: addOns(...wanted), when: null })
  return { ...world, addOns, attach }
}

test('an add-on that is attached in the middle of a month costs half of it, and then all (issue 7: add-ons)', async () => {
  const world = await withBase('half', 'in_advance')
  await world.runAt(NOVEMBER + HOUR_MS)
  world.clock.nowMs = HALF_NOVEMBER
  const { change } = await world.previewOf('s', { addOns: world.addOns(['support', '1']), when: null })
  expect(change && [change.creditMinor, change.chargeMinor].map((minor) => formatMoney(minor, 'USD'))).toEqual([
    '0.00',
    '10.00',
  ])
  await world.attach(['support', '1'])
  await world.attach(['support', '1'])
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toBe(
    '11-16 support base 10.00, 12-01 base base 50.00, 12-01 support base 20.00, 11-01 base calls 0.00 = 80.00',
  )
  // It is detached with the period, or now: then half is given back.
  world.clock.nowMs = HALF_DECEMBER
  await world.attach()
  expect((await world.read('s')).phases.at(-1)).toMatchObject({ startMs: JANUARY, planKey: 'base' })
  await world.change('s', { addOns: [], when: 'now' })
  await world.runAt(JANUARY + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toBe(
    '12-01 support base -10.00, 01-01 base base 50.00, 12-01 base calls 0.00 = 40.00',
  )
  expect(await world.wrong()).toEqual([])
})

test('its quantity multiplies its fees; usage is priced once, late usage too', async () => {
  const world = await withBase('times', 'in_arrears')
  world.clock.nowMs = HALF_NOVEMBER
  await world.attach(['storage', '2'], ['support', '3'])
  world.use('a', 'context_tokens', '11', NOVEMBER + DAY_MS)
  world.use('a', 'generated_tokens', '100', NOVEMBER + DAY_MS)
  world.use('a', 'generated_tokens', '7', HALF_NOVEMBER + DAY_MS)
  world.clock.nowMs = NOVEMBER + 24 * DAY_MS
  await world.attach(['storage', '4'], ['support', '3'])
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  // 6.00 for 9 days and 12.00 for 6 of 30; 60.00 for 15.
  const [first] = await world.billed()
  expect(first?.split(' = ')[1]).toBe('102.20')
  expect(first?.split(' = ')[0]?.split(', ').sort()).toEqual(
    [
      '11-01 base base 50.00',
      '11-01 base calls 11.00',
      '11-16 storage base 4.20',
      '11-16 storage bytes 7.00',
      '11-16 support base 30.00',
    ].sort(),
  )
  world.use('a', 'generated_tokens', '2', HALF_NOVEMBER + DAY_MS, DECEMBER + DAY_MS)
  await world.runAt(JANUARY + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toContain('11-16 storage bytes 2.00')
  expect(await world.wrong()).toEqual([])
})

test('it can come with the subscription, in a version that it keeps, and its fees alone can be in advance', async () => {
  const world = await withBase('first', 'in_arrears')
  await world.plan({ key: 'ahead', kind: 'add_on', fees: 'in_advance', charges: [fee('6.00')] })
  await world.subscribe('b', { plan: 'later', startMs: Date.UTC(2030, 0, 1), endMs: null })
  const input = {
    externalKey: 't',
    customer: 'b',
    planKey: 'base',
    startMs: NOVEMBER,
    addOns: world.addOns(['ahead', '2']),
  }
  const created = await world.create(input)
  expect(await world.create(input)).toEqual(created)
  await expect(world.create({ ...input, addOns: [] })).rejects.toMatchObject({ code: 'conflict' })
  // Where no fee was billed before, what is attached has an invoice of its own.
  world.clock.nowMs = HALF_NOVEMBER
  await world.attach(['ahead', '1'])
  await world.runAt(HALF_NOVEMBER + HOUR_MS)
  expect((await world.billed()).sort()).toEqual(['11-01 ahead base 12.00 = 12.00', '11-16 ahead base 3.00 = 3.00'])
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  expect((await world.billed()).slice(2).sort()).toEqual([
    '12-01 ahead base 12.00, 11-01 base base 50.00, 11-01 base calls 0.00 = 62.00',
    '12-01 ahead base 6.00, 11-01 base base 50.00, 11-01 base calls 0.00 = 56.00',
  ])
  expect(await world.wrong()).toEqual([])
})

test('it is refused where usage would be billed twice, or periods differ, and changes nothing', async () => {
  const world = await withBase('refused', 'in_advance')
  const before = await world.read('s')
  const refusals = [
    [['same-meter'], { code: 'conflict' }],
    [['same-key'], { code: 'conflict' }],
    [['storage', 'same-key'], { code: 'conflict' }],
    [['yearly'], { code: 'illegal_state' }],
    [['base'], { code: 'invalid_request', options: { errors: [{ path: 'add_ons.0.plan' }] } }],
    [['support', 'none'], { code: 'invalid_request', options: { errors: [{ path: 'add_ons.1.plan' }] } }],
    [['support', 'support'], { code: 'invalid_request', options: { errors: [{ path: 'add_ons.1.plan' }] } }],
  ] as const
  for (const [keys, problem] of refusals) {
    await expect(world.attach(...keys.map((key) => [key, '1'] as const))).rejects.toMatchObject(problem)
  }
  await expect(world.attach(['support', '0'])).rejects.toMatchObject({
    options: { errors: [{ path: 'add_ons.0.quantity' }] },
  })
  await expect(world.change('s', { plan: 'support', when: null })).rejects.toMatchObject({
    options: { errors: [{ path: 'plan' }] },
  })
  const alone = { externalKey: 'alone', customer: 'a', planKey: 'support', startMs: NOVEMBER }
  await expect(world.create(alone)).rejects.toMatchObject({ options: { errors: [{ path: 'plan' }] } })
  expect(await world.read('s')).toEqual(before)
  // What is attached stands in the way of another subscription, and of a plan with its meter or other periods.
  await world.attach(['storage', '1'])
  await world.plan({ key: 'bytes', charges: [metered('bytes', 'generated_tokens')] })
  await world.plan({ key: 'year', interval: 'year', charges: [fee('1.00')] })
  const other = { externalKey: 'other', customer: 'a', planKey: 'bytes', startMs: NOVEMBER }
  await expect(world.create(other)).rejects.toMatchObject({ code: 'conflict' })
  await expect(world.change('s', { plan: 'bytes', when: 'now' })).rejects.toMatchObject({ code: 'conflict' })
  await expect(world.change('s', { plan: 'year', when: 'now' })).rejects.toMatchObject({ code: 'illegal_state' })
  await world.attach()
  await world.change('s', { addOns: [], when: 'now' })
  await world.create(other)
})
