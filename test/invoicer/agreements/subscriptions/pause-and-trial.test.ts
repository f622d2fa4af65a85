import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readSubscriptions } from '../../../../ingest/entitlements/entitlements.postgres.ts'
import type { Change } from '../../../../invoicer/agreements/subscriptions/change-subscription.ts'
import { stateAt, TRANSITIONS } from '../../../../invoicer/agreements/subscriptions/lifecycle.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { type ChangingWorld, createChangingWorld, DAY_MS, HOUR_MS } from './changing-world.ts'

let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const CALLS: Price = {
  model: 'graduated',
  tiers: [
    { up_to: '10', unit_amount: '1' },
    { up_to: null, unit_amount: '0.5' },
  ],
}

/** A plan of 30.00 a month with calls, customer a on it from November on, on the tenth day of 30. */
async function tenthDay(): Promise<ChangingWorld> {
  worlds += 1
  const world = await createChangingWorld(database, `pause-${worlds}`)
  await world.fee('month', '30.00', CALLS)
  await world.fee('other', '60.00', CALLS)
  world.clock.nowMs = NOVEMBER + 10 * DAY_MS
  await world.subscribe('a', { plan: 'month', endMs: null })
  return world
}
const billed = async (world: ChangingWorld) => {
  world.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await world.run()
  return world.lines('a')
}
const kinds = async (world: ChangingWorld) =>
  (await world.read('a')).phases.map(({ startMs, kind }) => [(startMs - NOVEMBER) / DAY_MS, kind])

describe('a subscription is paused and resumed', () => {
  test('neither fees nor usage of the pause are billed, and what lies around it is rated together', async () => {
    const world = await tenthDay()
    world.use('a', 'context_tokens', '8', NOVEMBER)
    await world.change('a', { pause: 'now', bill: false })
    await world.change('a', { pause: 'now', bill: false })
    expect(stateAt(await world.read('a'), world.clock.nowMs)).toBe('paused')
    world.clock.nowMs += 10 * DAY_MS
    world.use('a', 'context_tokens', '100', world.clock.nowMs - 1)
    await world.change('a', { resume: 'now' })
    world.use('a', 'context_tokens', '8', world.clock.nowMs)
    expect(await kinds(world)).toEqual([
      [0, 'active'],
      [10, 'paused'],
      [20, 'active'],
    ])
    const preview = (await world.preview('a')).draft
    expect(await billed(world)).toEqual([
      ['11-01', 'base', '20.00'],
      ['11-01', 'calls', '13.00'],
    ])
    expect(preview.totalMinor).toBe(3300n)
  })

  test('with billing, both are, as if it were not paused', async () => {
    const world = await tenthDay()
    await world.change('a', { pause: 'now', bill: true })
    world.use('a', 'context_tokens', '4', NOVEMBER + 20 * DAY_MS)
    expect(await billed(world)).toEqual([
      ['11-01', 'base', '30.00'],
      ['11-01', 'calls', '4.00'],
    ])
  })

  test('at times to come, which may be moved and taken back', async () => {
    const world = await tenthDay()
    await world.change('a', { pause: 'period_end', bill: false })
    await world.change('a', { pause: { atMs: NOVEMBER + 15 * DAY_MS }, bill: false })
    expect(await kinds(world)).toEqual([
      [0, 'active'],
      [15, 'paused'],
    ])
    await world.change('a', { pause: null, bill: false })
    expect(await kinds(world)).toEqual([[0, 'active']])
    await world.change('a', { pause: 'now', bill: false })
    await world.change('a', { resume: { atMs: NOVEMBER + 12 * DAY_MS } })
    await world.change('a', { resume: { atMs: NOVEMBER + 20 * DAY_MS } })
    expect(await kinds(world)).toEqual([
      [0, 'active'],
      [10, 'paused'],
      [20, 'active'],
    ])
    // The pause that began then is the same one, whatever was said of it since.
    const stored = await world.read('a')
    world.clock.nowMs += DAY_MS
    await world.change('a', { pause: { atMs: NOVEMBER + 10 * DAY_MS + 30_000 }, bill: false })
    expect(await world.read('a')).toEqual(stored)
    const past = { pause: { atMs: NOVEMBER }, bill: false }
    await expect(world.change('a', past)).rejects.toMatchObject({ code: 'invalid_request' })
    expect((await billed(world))[0]).toEqual(['11-01', 'base', '20.00'])
  })

  test('a period that is paused as a whole has an invoice of nothing, which counts as paid', async () => {
    const world = await tenthDay()
    await world.change('a', { pause: { atMs: DECEMBER }, bill: false })
    await billed(world)
    world.clock.nowMs = JANUARY + 2 * HOUR_MS
    await world.run()
    const invoices = await world.invoices()
    expect(invoices.map(({ lines, totalMinor, state }) => [lines.length, totalMinor, state])).toEqual([
      [2, 3000n, 'paid'],
      [0, 0n, 'paid'],
    ])
  })

  test('what its plan grants holds for whoever is on it then, and not in a pause', async () => {
    const world = await tenthDay()
    await world.toPlan('a', 'other')
    world.clock.nowMs += DAY_MS
    await world.change('a', { pause: 'now', bill: false })
    const plansAt = (day: number) =>
      world.transact(world.tenantId, async (tx) =>
        (await readSubscriptions(tx, new Date(NOVEMBER + day * DAY_MS))).map(({ plan }) => plan),
      )
    expect([await plansAt(9), await plansAt(10), await plansAt(11)]).toEqual([['month'], ['other'], []])
  })
})

describe('a subscription begins with a trial', () => {
  test('P3: 50,000.00 a month, calendar billing by days, trial of 10 days from 5 March 12:12: 17/31', async () => {
    worlds += 1
    const world = await createChangingWorld(database, `pause-${worlds}`)
    await world.plan({
      prorationBasis: 'day',
      charges: [{ key: 'base', name: 'Base fee', meter: null, price: { model: 'flat', amount: '50000.00' } }],
    })
    const startMs = Date.UTC(2024, 2, 5, 12, 12)
    world.clock.nowMs = startMs
    await world.subscribe('z', { plan: 'llm', startMs: Date.UTC(2024, 1, 1), endMs: startMs })
    const input = { externalKey: 'a', customer: 'z', startMs, trial: { days: 10 } }
    const { phases } = await world.create(input)
    expect(phases.map(({ startMs: atMs, kind }) => [new Date(atMs).toISOString(), kind])).toEqual([
      ['2024-03-05T12:12:00.000Z', 'trial'],
      ['2024-03-15T12:12:00.000Z', 'active'],
    ])
    // The same again, also by its end: it is the same subscription.
    const again = await world.create({ ...input, trial: { endMs: Date.UTC(2024, 2, 15, 12, 12, 30) } })
    expect(again.phases).toEqual(phases)
    await expect(world.create({ ...input, trial: { days: 11 } })).rejects.toMatchObject({ code: 'conflict' })
    world.clock.nowMs = Date.UTC(2024, 3, 1, 2)
    await world.run()
    const invoice = (await world.invoices()).find(({ periodStartMs }) => periodStartMs === startMs)
    expect(invoice).toMatchObject({ totalMinor: 2_741_935n, lines: [{ periodStartMs: Date.UTC(2024, 2, 15, 12, 12) }] })
  })

  test('in which its plan may be changed, and its usage is free', async () => {
    const world = await tenthDay()
    world.use('b', 'context_tokens', '100', NOVEMBER + 5 * DAY_MS)
    world.use('b', 'context_tokens', '7', NOVEMBER + 15 * DAY_MS)
    await world.subscribe('b', { plan: 'month', startMs: NOVEMBER - DAY_MS, endMs: NOVEMBER })
    const trial = { endMs: NOVEMBER + 15 * DAY_MS }
    const before = await world.create({ externalKey: 'b2', customer: 'b', planKey: 'month', startMs: NOVEMBER, trial })
    expect(stateAt(before, world.clock.nowMs)).toBe('trialing')
    const preview = await world.preview('b2', 'other')
    expect(preview.change).toMatchObject({ creditMinor: -1500n, chargeMinor: 3000n })
    await world.toPlan('b2', 'other')
    // Nothing is billed yet: also a lower fee begins at once, and may be left again.
    await world.toPlan('b2', 'month')
    expect((await world.read('b2')).phases.map(({ planKey }) => planKey)).toEqual(['month', 'month'])
    await world.toPlan('b2', 'other')
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await world.run()
    expect((await world.lines('b')).filter(([day]) => day === '11-16')).toEqual([
      ['11-16', 'base', '30.00'],
      ['11-16', 'calls', '7.00'],
    ])
  })
})

/** EPIC-2: whatever does not stand in the table is refused and changes nothing. */
describe('every change in every state', () => {
  const CHANGES: [keyof (typeof TRANSITIONS)['active'] | 'take_back' | 'resume', Change][] = [
    ['change_plan', { plan: 'other', when: 'now' }],
    ['keep_plan', { plan: null, when: null }],
    ['pause', { pause: 'now', bill: false }],
    ['keep_on', { pause: null, bill: false }],
    ['resume', { resume: 'now' }],
    ['cancel', { cancel: 'period_end' }],
    ['take_back', { cancel: null }],
  ]
  // Drafts have a test of their own (drafts.test.ts).
  type Stored = Exclude<keyof typeof TRANSITIONS, 'draft'>
  const reach: Record<Stored, (world: ChangingWorld, name: string) => Promise<unknown>> = {
    active: async () => undefined,
    trialing: async (world, name) => {
      await world.change(name, { cancel: 'now' })
      const startMs = world.clock.nowMs
      await world.create({ externalKey: `${name}t`, customer: name, planKey: 'month', startMs, trial: { days: 3 } })
    },
    paused: (world, name) => world.change(name, { pause: 'now', bill: false }),
    cancelled: (world, name) => world.change(name, { cancel: 'period_end' }),
    past_due: (world, name) =>
      world.transact(world.tenantId, (tx) =>
        tx.query("UPDATE subscriptions SET state = 'past_due' WHERE external_key = $1", [name]),
      ),
    ended: (world, name) => world.change(name, { cancel: 'now' }),
  }

  test.each(Object.keys(reach) as Stored[])('what is %s changes by the table', async (state) => {
    const world = await tenthDay()
    for (const [name] of CHANGES) {
      await world.subscribe(name, { plan: 'month', endMs: null })
      await reach[state](world, name)
    }
    world.clock.nowMs += 2 * HOUR_MS
    if (state === 'ended') await world.run()
    for (const [name, change] of CHANGES) {
      const key = state === 'trialing' ? `${name}t` : name
      const before = await world.read(key)
      expect(stateAt(before, world.clock.nowMs)).toBe(state)
      const next = TRANSITIONS[state][name]
      // What goes on has no cancellation: it is as it shall be.
      const isNothing =
        (name === 'take_back' && !['cancelled', 'ended'].includes(state)) || (name === 'resume' && state === 'active')
      if (next !== undefined || isNothing) {
        const { subscription, atMs } = await world.change(key, change)
        expect([name, stateAt(subscription, atMs)]).toEqual([name, next ?? state])
      } else {
        await expect(world.change(key, change), name).rejects.toMatchObject({ code: 'illegal_state' })
        expect(await world.read(key)).toEqual(before)
      }
    }
  })
})
