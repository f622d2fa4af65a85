import { afterAll, beforeAll, expect, test } from 'vitest'
import { createVersion } from '../../../../invoicer/agreements/plans/create-version.ts'
import type { CreateSubscription } from '../../../../invoicer/agreements/subscriptions/create-subscription.ts'
import { checkBillable } from '../../../../invoicer/billing/rating/check-price.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS, HOUR_MS } from '../../agreements/subscriptions/changing-world.ts'
import { DECEMBER, DEMO_PLAN, JANUARY, NOVEMBER } from '../../support/world.ts'
import { createFeesWorld, type FeesWorld, HALF_DECEMBER } from './fees-world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const HALF_NOVEMBER = NOVEMBER + 15 * DAY_MS
const SEATS = { model: 'per_unit' as const, unit_amount: '10.00' }
/** The first 5 at 10.00, the others at 8.00. */
const TIERED = {
  model: 'graduated' as const,
  tiers: [
    { up_to: '5', unit_amount: '10.00' },
    { up_to: null, unit_amount: '8.00' },
  ],
}
type Price = (typeof SEATS & { maximum_amount?: string }) | typeof TIERED

/** A customer with 5 seats from November on, on a plan of that key. */
async function withSeats(slug: string, price: Price, fees: 'in_advance' | 'in_arrears', minimum?: string) {
  const world = await createFeesWorld(database, slug)
  world.clock.nowMs = NOVEMBER
  const bounded = minimum === undefined ? price : { ...price, minimum_amount: minimum }
  await world.plan({
    key: 'team',
    fees,
    charges: [
      { key: 'seats', name: 'Seats', meter: null, price: bounded, quantity: { default: '1', max: '100' } },
      { key: 'calls', name: 'Calls', meter: 'context_tokens', price: { model: 'per_unit', unit_amount: '1' } },
    ],
  })
  await world.ahead('later', '1.00')
  await world.subscribe('a', { plan: 'later', startMs: Date.UTC(2030, 0, 1), endMs: null })
  await world.create({
    externalKey: 's',
    customer: 'a',
    planKey: 'team',
    startMs: NOVEMBER,
    quantities: { seats: '5' },
  })
  return world
}

async function previewed(world: FeesWorld, seats: string, when: 'now' | 'period_end' | null = null) {
  const { change } = await world.previewOf('s', { quantities: { seats }, when })
  return change && [change.creditMinor, change.chargeMinor].map((minor) => formatMoney(minor, 'USD'))
}

test('more seats in the middle of a month are charged for their half of it (billing-rules: seats)', async () => {
  const world = await withSeats('more', SEATS, 'in_advance')
  await world.runAt(NOVEMBER + HOUR_MS)
  expect(await world.billed()).toEqual(['11-01 team seats 50.00 = 50.00'])
  world.clock.nowMs = HALF_NOVEMBER
  expect(await previewed(world, '8')).toEqual(['-25.00', '40.00'])
  await world.change('s', { quantities: { seats: '8' }, when: null }, 'once')
  await world.change('s', { quantities: { seats: '8' }, when: null }, 'once')
  await world.change('s', { quantities: { seats: '8' }, when: null })
  expect((await world.read('s')).phases.map(({ startMs, quantities }) => [startMs, quantities])).toEqual([
    [NOVEMBER, { seats: '5' }],
    [HALF_NOVEMBER, { seats: '8' }],
  ])
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toBe(
    '11-01 team seats 15.00, 12-01 team seats 80.00, 11-01 team calls 0.00 = 95.00',
  )
  expect(await world.wrong()).toEqual([])
})

test('seats of a graduated price are priced by their total, and what changed of it (price(5) 50.00, price(8) 74.00)', async () => {
  const world = await withSeats('tiers', TIERED, 'in_advance')
  await world.runAt(NOVEMBER + HOUR_MS)
  world.clock.nowMs = HALF_NOVEMBER
  expect(await previewed(world, '8')).toEqual(['-25.00', '37.00'])
  await world.change('s', { quantities: { seats: '8' }, when: 'now' })
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toBe(
    '11-01 team seats 12.00, 12-01 team seats 74.00, 11-01 team calls 0.00 = 86.00',
  )
  expect(await world.wrong()).toEqual([])
})

test('fewer seats change nothing before the period ends, unless they are told to', async () => {
  const world = await withSeats('less', SEATS, 'in_advance')
  await world.runAt(NOVEMBER + HOUR_MS)
  world.clock.nowMs = HALF_NOVEMBER
  expect(await previewed(world, '2')).toEqual(['0.00', '0.00'])
  expect(await previewed(world, '2', 'now')).toEqual(['-25.00', '10.00'])
  await world.change('s', { quantities: { seats: '2' }, when: null })
  await world.change('s', { quantities: { seats: '3' }, when: null })
  expect((await world.read('s')).phases.map(({ startMs, quantities }) => [startMs, quantities])).toEqual([
    [NOVEMBER, { seats: '5' }],
    [DECEMBER, { seats: '3' }],
  ])
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toBe('12-01 team seats 30.00, 11-01 team calls 0.00 = 30.00')
  // What was to come is taken back by what is: the default, and the same again.
  await world.change('s', { quantities: { seats: '1' }, when: null })
  await world.change('s', { quantities: { seats: '3' }, when: null })
  expect((await world.read('s')).phases).toHaveLength(2)
  world.clock.nowMs = HALF_DECEMBER
  await world.change('s', { quantities: { seats: '0' }, when: 'now' })
  await world.runAt(JANUARY + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toBe(
    '12-01 team seats -15.00, 01-01 team seats 0.00, 12-01 team calls 0.00 = -15.00',
  )
  expect(await world.wrong()).toEqual([])
})

test('seats in arrears are billed by how long there were how many, and usage is not cut by their change', async () => {
  const world = await withSeats('arrears', TIERED, 'in_arrears', '80.00')
  world.clock.nowMs = HALF_NOVEMBER
  await world.change('s', { quantities: { seats: '8' }, when: null })
  world.use('a', 'context_tokens', '7', NOVEMBER + DAY_MS)
  world.use('a', 'context_tokens', '5', HALF_NOVEMBER + DAY_MS)
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  expect(await world.billed()).toEqual([
    '11-01 team seats 62.00, 11-01 team seats 18.00, 11-01 team calls 12.00 = 92.00',
  ])
  const [invoice] = await world.invoices()
  expect(invoice!.lines[0]!.breakdown).toEqual([
    {
      ...{ type: 'quantity', quantity: '5', amount: '25.00' },
      ...{ start: '2023-11-01T00:00:00.000Z', end: '2023-11-16T00:00:00.000Z' },
    },
    { type: 'tier', tier: 1, up_to: '5', quantity: '5', unit_amount: '10', flat_amount: '0', amount: '50' },
    { type: 'proration', amount: '-25', seconds: 1_296_000, of_seconds: 2_592_000 },
    {
      ...{ type: 'quantity', quantity: '8', amount: '37.00' },
      ...{ start: '2023-11-16T00:00:00.000Z', end: '2023-12-01T00:00:00.000Z' },
    },
    { type: 'tier', tier: 1, up_to: '5', quantity: '5', unit_amount: '10', flat_amount: '0', amount: '50' },
    { type: 'tier', tier: 2, up_to: null, quantity: '3', unit_amount: '8', flat_amount: '0', amount: '24' },
    { type: 'proration', amount: '-37', seconds: 1_296_000, of_seconds: 2_592_000 },
  ])
  expect(await world.wrong()).toEqual([])
  // What comes late is priced with all of the month's usage, though its seats changed.
  world.use('a', 'context_tokens', '1', HALF_NOVEMBER + DAY_MS, DECEMBER + DAY_MS)
  await world.runAt(JANUARY + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toBe(
    '12-01 team seats 74.00, 12-01 team seats 6.00, 12-01 team calls 0.00, 11-01 team calls 1.00 = 81.00',
  )
  expect(await world.wrong()).toEqual([])
})

test('seats that go with another plan to come go when it is taken back, and those of now stay', async () => {
  const world = await withSeats('taken-back', SEATS, 'in_advance')
  const seats = { key: 'seats', name: 'Seats', meter: null, price: { model: 'per_unit' as const, unit_amount: '9' } }
  for (const key of ['many', 'other']) {
    await world.plan({ key, fees: 'in_advance', charges: [{ ...seats, quantity: { default: '1' } }] })
  }
  await world.runAt(NOVEMBER + HOUR_MS)
  world.clock.nowMs = HALF_NOVEMBER
  const phases = async () =>
    (await world.read('s')).phases.map(({ startMs, planKey, quantities }) => [startMs, planKey, quantities?.seats])
  const more = { plan: 'many', quantities: { seats: '200' }, when: 'period_end' as const }
  await world.change('s', more)
  expect(await phases()).toEqual([
    [NOVEMBER, 'team', '5'],
    [DECEMBER, 'many', '200'],
  ])
  // A third plan instead has the seats of now.
  await world.change('s', { plan: 'other', when: 'period_end' })
  expect(await phases()).toEqual([
    [NOVEMBER, 'team', '5'],
    [DECEMBER, 'other', '5'],
  ])
  await world.change('s', more)
  await world.change('s', { plan: null, when: null })
  expect(await phases()).toEqual([[NOVEMBER, 'team', '5']])
  // Seats that change on the plan itself are none of a change of plan, and stay.
  await world.change('s', { quantities: { seats: '4' }, when: 'period_end' })
  await world.change('s', { plan: null, when: null })
  expect(await phases()).toEqual([
    [NOVEMBER, 'team', '5'],
    [DECEMBER, 'team', '4'],
  ])
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toBe('12-01 team seats 40.00, 11-01 team calls 0.00 = 40.00')
  world.clock.nowMs = HALF_DECEMBER
  await world.change('s', more)
  await world.change('s', { plan: 'many', when: 'now' })
  expect((await phases()).slice(-1)).toEqual([[HALF_DECEMBER, 'many', '4']])
  expect(await world.wrong()).toEqual([])
})

test('a maximum bounds all seats of a month together, and the preview says what is paid for', async () => {
  const world = await withSeats('maximum', { ...SEATS, maximum_amount: '60.00' }, 'in_advance')
  await world.runAt(NOVEMBER + HOUR_MS)
  world.clock.nowMs = HALF_NOVEMBER
  expect(await previewed(world, '8')).toEqual(['-25.00', '35.00'])
  await world.change('s', { quantities: { seats: '8' }, when: null })
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toBe(
    '11-01 team seats 10.00, 12-01 team seats 60.00, 11-01 team calls 0.00 = 70.00',
  )
  world.clock.nowMs = HALF_DECEMBER
  await world.change('s', { cancel: 'now' })
  await world.runAt(HALF_DECEMBER + 2 * HOUR_MS)
  // Half of 80.00 are below the maximum.
  expect((await world.billed()).at(-1)).toBe('12-01 team seats -20.00, 12-01 team calls 0.00 = -20.00')
  expect(await world.wrong()).toEqual([])
})

test('a pause, a cancellation now and another plan keep to the seats of their time', async () => {
  const world = await withSeats('lives', SEATS, 'in_advance')
  await world.plan({
    key: 'large',
    fees: 'in_advance',
    charges: [
      {
        key: 'seats',
        name: 'Seats',
        meter: null,
        price: { model: 'per_unit', unit_amount: '20' },
        quantity: { default: '2', max: '6' },
      },
    ],
  })
  await world.runAt(NOVEMBER + HOUR_MS)
  world.clock.nowMs = HALF_NOVEMBER
  await world.change('s', { plan: 'large', when: 'now' })
  expect((await world.read('s')).phases.at(-1)).toMatchObject({ planKey: 'large', quantities: { seats: '5' } })
  await expect(world.change('s', { quantities: { seats: '7' }, when: null })).rejects.toMatchObject({
    code: 'invalid_request',
    options: { errors: [{ path: 'quantities.seats' }] },
  })
  // To one that is to come, and back: the seats of now are not forgotten.
  await world.change('s', { plan: 'later', when: 'period_end' })
  await world.change('s', { plan: null, when: null })
  expect((await world.read('s')).phases).toHaveLength(2)
  world.clock.nowMs = NOVEMBER + 24 * DAY_MS
  await world.change('s', { pause: 'now', bill: false })
  await expect(world.change('s', { quantities: { seats: '6' }, when: null })).rejects.toMatchObject({
    code: 'illegal_state',
  })
  await world.change('s', { resume: 'period_end' })
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  // Half a month of 50.00 is given back, 9 of 30 days of 100.00 are served.
  expect((await world.billed()).at(-1)).toBe(
    '11-01 team seats -25.00, 11-16 large seats 30.00, 12-01 large seats 100.00, 11-01 team calls 0.00 = 105.00',
  )
  world.clock.nowMs = HALF_DECEMBER
  await world.change('s', { quantities: { seats: '6' }, when: null })
  await world.change('s', { cancel: 'now' })
  await world.runAt(HALF_DECEMBER + 2 * HOUR_MS)
  expect((await world.billed()).at(-1)).toBe('12-01 large seats -50.00 = -50.00')
  expect(await world.wrong()).toEqual([])
})

test('created again it is the same, whatever versions of plan and add-ons came before its start', async () => {
  const world = await withSeats('again', SEATS, 'in_advance')
  const fee = (key: string) => ({ key, name: key, meter: null, price: { model: 'flat' as const, amount: '1' } })
  const addOn = (key: string) => ({ key, kind: 'add_on' as const, fees: 'in_advance' as const, charges: [fee(key)] })
  for (const key of ['one', 'two']) await world.plan(addOn(key))
  const wanted = {
    ...{ externalKey: 'd', customer: 'a', planKey: 'small', startMs: DECEMBER, quantities: { seats: '20' } },
    addOns: ['two', 'one'].map((plan) => ({ plan, quantity: '2' })),
  }
  const version = (change: object) => {
    const charge = { key: 'seats', name: 'Seats', meter: null, price: SEATS, quantity: { default: '1', ...change } }
    return { key: 'small', fees: 'in_advance' as const, charges: [charge] }
  }
  await world.plan(version({ max: '30' }))
  const created = await world.create(wanted)
  // By now nobody could subscribe so: 20 are the default, and then too many; of the add-ons there are other versions.
  const price = { model: 'flat' as const, amount: '2' }
  const publish = ({ key, ...change }: Parameters<FeesWorld['plan']>[0] & { key: string }) => {
    world.clock.nowMs += HOUR_MS
    const { key: _, ...terms } = DEMO_PLAN
    const input = { key, version: undefined, effectiveFromMs: world.clock.nowMs, content: { ...terms, ...change } }
    return world.transact(world.tenantId, (tx) => createVersion(tx, input, checkBillable, world))
  }
  for (const key of ['two', 'one']) await publish({ ...addOn(key), charges: [{ ...fee(key), price }] })
  for (const change of [{ default: '20' }, { max: '10' }]) {
    await publish(version(change))
    expect(await world.create(wanted)).toEqual(created)
    const others: Partial<CreateSubscription>[] = [{ quantities: { seats: '21' } }, { quantities: {} }, { addOns: [] }]
    for (const other of others) {
      await expect(world.create({ ...wanted, ...other })).rejects.toMatchObject({ code: 'conflict' })
    }
  }
})

test('who never said how many has the default, and no phases; what the plan does not sell is refused', async () => {
  const world = await withSeats('default', SEATS, 'in_advance')
  await world.subscribe('b', { plan: 'later', startMs: Date.UTC(2030, 0, 1), endMs: null })
  const input = { externalKey: 't', customer: 'b', planKey: 'team', startMs: NOVEMBER }
  const created = await world.create(input)
  expect(created.phases).toMatchObject([{ licences: { seats: { default: '1' } } }])
  expect(await world.create({ ...input, quantities: { seats: '1' } })).toEqual(created)
  await expect(world.create({ ...input, quantities: { seats: '2' } })).rejects.toMatchObject({ code: 'conflict' })
  const other = { ...input, externalKey: 'u', customer: 'a' }
  for (const [path, quantities] of [
    ['quantities.desks', { desks: '1' }] as const,
    ['quantities.seats', { seats: '101' }] as const,
  ]) {
    await expect(world.create({ ...other, quantities })).rejects.toMatchObject({ options: { errors: [{ path }] } })
    await expect(world.change('t', { quantities, when: null })).rejects.toMatchObject({
      options: { errors: [{ path }] },
    })
  }
  await world.change('t', { quantities: { seats: '1' }, when: null })
  expect(await world.read('t')).toEqual(created)
  await world.runAt(NOVEMBER + HOUR_MS)
  expect(await world.billed()).toEqual(['11-01 team seats 50.00 = 50.00', '11-01 team seats 10.00 = 10.00'])
})
