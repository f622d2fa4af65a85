import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createVersion } from '../../../../invoicer/agreements/plans/create-version.ts'
import { refuseOverlap } from '../../../../invoicer/agreements/subscriptions/refuse-overlap.ts'
import { checkBillable } from '../../../../invoicer/billing/rating/check-price.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { listBillingEvents } from '../../../../invoicer/outbox/history.postgres.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, DEMO_PLAN, JANUARY, NOVEMBER } from '../../support/world.ts'
import { type ChangingWorld, createChangingWorld, DAY_MS, HOUR_MS, MINUTE_MS } from './changing-world.ts'

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

/** Customer a on a plan of 5.00 a month from November on, with one of 20.00 beside it; it is 2 November. */
async function small(nowMs = NOVEMBER + DAY_MS): Promise<ChangingWorld> {
  worlds += 1
  const world = await createChangingWorld(database, `change-${worlds}`)
  await world.fee('small', '5.00', CALLS)
  await world.fee('large', '20.00', { ...CALLS, included_units: '3' })
  world.clock.nowMs = nowMs
  await world.subscribe('a', { plan: 'small', endMs: null })
  return world
}

const newVersion = async (world: ChangingWorld, name: string, amount: string) => {
  const price: Price = { model: 'flat', amount }
  const charges = [{ key: 'base', name: 'Base', meter: null, price }]
  const { key, ...content } = { ...DEMO_PLAN, key: name, charges }
  const input = { key, version: undefined, effectiveFromMs: undefined, content }
  await world.transact(world.tenantId, (tx) => createVersion(tx, input, checkBillable, world))
}
const changesOf = async (world: ChangingWorld) => {
  const events = await world.transact(world.tenantId, (tx) =>
    listBillingEvents(tx, { invoice: null, customer: null }, { after: null, limit: 100 }),
  )
  return events.flatMap(({ event, data }) => (event === 'subscription.updated' ? [data.change] : []))
}
const total = (lines: [string, string, string][]) => lines.reduce((sum, [, , amount]) => sum + Number(amount), 0)

describe('a plan is changed (TCP-2; billing-rules, Proration)', () => {
  test('P1: an upgrade from 5 to 20 after a day of 30 takes 4.83 off and adds 19.33, as its preview says', async () => {
    const world = await small()
    const preview = await world.preview('a', 'large')
    expect(preview.change).toEqual({
      planKey: 'large',
      atMs: NOVEMBER + DAY_MS,
      creditMinor: -483n,
      chargeMinor: 1933n,
    })
    expect(preview.draft.totalMinor).toBe(1950n)
    // Nothing is changed by looking.
    expect((await world.preview('a')).draft.totalMinor).toBe(500n)
    await world.toPlan('a', 'large')
    expect((await world.preview('a')).draft).toEqual(preview.draft)
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await world.run()
    expect(await world.lines('a')).toEqual([
      ['11-01', 'base', '0.17'],
      ['11-01', 'calls', '0.00'],
      ['11-02', 'base', '19.33'],
      ['11-02', 'calls', '0.00'],
    ])
    const invoices = await world.invoices()
    expect(invoices.map(({ planKey, totalMinor }) => [planKey, totalMinor])).toEqual([['large', 1950n]])
    // Each line says whose charge it is.
    const [first, , third] = invoices[0]!.lines
    expect(invoices[0]!.lines.map(({ planKey }) => planKey)).toEqual(['small', 'small', 'large', 'large'])
    expect(third).toMatchObject({ planVersion: 1, planHash: invoices[0]!.planHash })
    expect(first!.planHash).not.toBe(third!.planHash)
  })

  test('P8: three changes inside 31 days at 100.00 make four parts that sum to 100.00', async () => {
    const world = await small()
    for (const key of ['p1', 'p2', 'p3', 'p4']) await world.fee(key, '100.00')
    await world.subscribe('b', { plan: 'p1', startMs: DECEMBER, endMs: null })
    for (const [plan, minutes] of [['p2', 3_333] as const, ['p3', 17_777] as const, ['p4', 40_001] as const]) {
      world.clock.nowMs = DECEMBER + minutes * MINUTE_MS + 59_999
      await world.toPlan('b', plan)
    }
    const expected = (await world.preview('b')).draft
    world.clock.nowMs = JANUARY + 2 * HOUR_MS
    await world.run()
    const lines = await world.lines('b')
    expect(lines).toHaveLength(4)
    expect(total(lines)).toBe(100)
    expect(expected.lines.map(({ amountMinor }) => formatMoney(amountMinor, 'USD'))).toEqual(
      lines.map((line) => line[2]),
    )
  })

  test('the usage of each part is priced by its own plan, tiers and included units from zero', async () => {
    const world = await small(NOVEMBER + 10 * DAY_MS + 30_500)
    const cutMs = NOVEMBER + 10 * DAY_MS
    world.use('a', 'context_tokens', '12', NOVEMBER)
    world.use('a', 'context_tokens', '2', cutMs - 1)
    world.use('a', 'context_tokens', '15', cutMs)
    world.use('a', 'context_tokens', '100', DECEMBER)
    await world.toPlan('a', 'large')
    world.clock.nowMs = DECEMBER - 1
    const preview = (await world.preview('a')).draft
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await world.run()
    expect(await world.lines('a')).toEqual([
      ['11-01', 'base', '1.67'],
      ['11-01', 'calls', '12.00'],
      ['11-11', 'base', '13.33'],
      // 15 − 3 included: 10 × 1 + 2 × 0.5
      ['11-11', 'calls', '11.00'],
    ])
    const [invoice] = await world.invoices()
    expect(preview.totalMinor).toBe(invoice!.totalMinor)
    expect(invoice!.lines.map(({ usage }) => usage?.quantity ?? null)).toEqual([null, '14', null, '15'])
  })

  test('there and back: the parts on a plan are rated together', async () => {
    const world = await small(NOVEMBER + 10 * DAY_MS)
    world.use('a', 'context_tokens', '8', NOVEMBER)
    world.use('a', 'context_tokens', '4', NOVEMBER + 15 * DAY_MS)
    world.use('a', 'context_tokens', '8', NOVEMBER + 25 * DAY_MS)
    await world.toPlan('a', 'large')
    world.clock.nowMs = NOVEMBER + 20 * DAY_MS
    await world.toPlan('a', 'small', 'now')
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await world.run()
    expect(await world.lines('a')).toEqual([
      // By difference: 5.00 − 3.33 and 1.67 − 0.00, so that parts sum to the whole.
      ['11-01', 'base', '3.34'],
      // 16 units: 10 × 1 + 6 × 0.5
      ['11-01', 'calls', '13.00'],
      ['11-11', 'base', '6.66'],
      ['11-11', 'calls', '1.00'],
    ])
  })

  test('a downgrade waits for the end of the period, is shown, and can be taken back', async () => {
    const world = await small()
    await world.toPlan('a', 'large')
    const phases = async () => (await world.read('a')).phases.map(({ startMs, planKey }) => [startMs, planKey])
    const before = await phases()
    world.clock.nowMs += DAY_MS
    await world.toPlan('a', 'small')
    expect(await phases()).toEqual([...before, [DECEMBER, 'small']])
    expect((await world.preview('a', 'small')).change).toMatchObject({
      atMs: DECEMBER,
      creditMinor: 0n,
      chargeMinor: 0n,
    })
    await world.toPlan('a', null)
    expect(await phases()).toEqual(before)
    await world.toPlan('a', null)
    await world.toPlan('a', 'small')
    world.clock.nowMs = JANUARY + 2 * HOUR_MS
    await world.run()
    expect((await world.lines('a')).filter(([, charge]) => charge === 'base')).toEqual([
      ['11-01', 'base', '0.17'],
      ['11-02', 'base', '19.33'],
      ['12-01', 'base', '5.00'],
    ])
    expect(await changesOf(world)).toEqual(['plan_changed', 'plan_changed', 'plan_kept', 'plan_changed'])
  })

  test('a retried call answers as the first time and changes nothing, whatever was changed since', async () => {
    const world = await small()
    await world.fee('huge', '50.00')
    const first = await world.toPlan('a', 'large', null, 'k1')
    world.clock.nowMs += HOUR_MS
    await world.toPlan('a', 'huge', null, 'k2')
    const stored = await world.read('a')
    world.clock.nowMs += HOUR_MS
    expect(await world.toPlan('a', 'large', null, 'k1')).toEqual(first)
    expect(await world.read('a')).toEqual(stored)
    await expect(world.toPlan('a', 'small', null, 'k1')).rejects.toMatchObject({ code: 'conflict' })
    // Without a key, what is so already changes nothing either.
    await world.toPlan('a', 'huge')
    expect(await world.read('a')).toEqual(stored)
    expect(await changesOf(world)).toEqual(['plan_changed', 'plan_changed'])
  })

  test('two calls with one key at once make one change', async () => {
    const world = await small()
    const answers = await Promise.all([1, 2, 3].map(() => world.toPlan('a', 'large', null, 'k')))
    for (const answer of answers) expect(answer).toEqual(answers[0])
    expect(await changesOf(world)).toEqual(['plan_changed'])
  })

  test('to the plan that it is on moves it to the version in effect; without that it keeps its own', async () => {
    const world = await small()
    await newVersion(world, 'small', '9.00')
    const keeps = (await world.preview('a')).draft
    expect(keeps.totalMinor).toBe(500n)
    await world.toPlan('a', null)
    expect((await world.read('a')).phases).toHaveLength(1)
    await world.toPlan('a', 'small')
    // 0.17 + 8.70
    expect((await world.preview('a')).draft.totalMinor).toBe(887n)
  })

  test('before the start at once, whatever its fee: nothing is billed yet', async () => {
    const world = await small()
    await world.subscribe('c', { plan: 'large', startMs: DECEMBER, endMs: null })
    await world.toPlan('c', 'small')
    expect((await world.read('c')).phases.map(({ startMs, planKey }) => [startMs, planKey])).toEqual([
      [DECEMBER, 'small'],
    ])
  })

  test('a change to come stays as it is when it is asked for again, though a version came between', async () => {
    const world = await small()
    await world.toPlan('a', 'large')
    world.clock.nowMs += DAY_MS
    await world.toPlan('a', 'small')
    const waiting = await world.read('a')
    await newVersion(world, 'small', '30.00')
    await world.toPlan('a', 'small')
    await world.toPlan('a', 'small', 'period_end')
    expect(await world.read('a')).toEqual(waiting)
    // Taken back, it is asked for anew: by now it is an upgrade.
    await world.toPlan('a', null)
    await world.toPlan('a', 'small')
    expect((await world.read('a')).phases.at(-1)).toMatchObject({ startMs: world.clock.nowMs, planVersion: 2 })
  })

  test('is refused where it would make more phases than a look should read', async () => {
    const world = await small()
    await world.transact(world.tenantId, async (tx) => {
      await tx.query(`UPDATE subscriptions SET revision = 1 WHERE external_key = 'a'`)
      await tx.query(
        `INSERT INTO subscription_phases (tenant_id, subscription_id, revision, start_at, plan_id, kind, bills)
         SELECT app_tenant(), s.id, 1, s.start_at + n * interval '1 minute', s.plan_id,
           CASE WHEN n % 2 = 0 THEN 'active' ELSE 'paused' END, true
         FROM subscriptions s, generate_series(0, 498) AS n WHERE s.external_key = 'a'`,
      )
    })
    await world.toPlan('a', 'large')
    const full = await world.read('a')
    expect(full.phases).toHaveLength(500)
    world.clock.nowMs += DAY_MS
    await expect(world.toPlan('a', 'small')).rejects.toMatchObject({ code: 'illegal_state' })
    expect(await world.read('a')).toEqual(full)
    await world.change('a', { cancel: 'now' })
  })

  test('to what it cannot be changed is refused, and nothing is changed', async () => {
    const world = await small()
    await world.plan({ key: 'daily', prorationBasis: 'day' })
    await world.plan({ key: 'euro', currency: 'EUR' })
    const before = await world.read('a')
    // By other bases the parts of a period would not sum to the whole.
    await expect(world.toPlan('a', 'daily')).rejects.toMatchObject({ code: 'illegal_state' })
    await expect(world.toPlan('a', 'euro')).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(world.toPlan('a', 'nothing')).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(world.toPlan('b', 'large')).rejects.toMatchObject({ code: 'not_found' })
    expect(await world.read('a')).toEqual(before)
  })

  /** Each change fits the plan of then, and what is left of them does not. */
  test('a change of one minute that leaves other parts of a period than sum to it is refused', async () => {
    const world = await small()
    await world.plan({ key: 'daily', prorationBasis: 'day' })
    await world.plan({ key: 'yearly', interval: 'year', prorationBasis: 'day' })
    await world.toPlan('a', 'yearly', 'now')
    const before = await world.read('a')
    await expect(world.toPlan('a', 'daily', 'now')).rejects.toMatchObject({ code: 'illegal_state' })
    expect(await world.read('a')).toEqual(before)
    await world.toPlan('a', 'large', 'now')
    expect((await world.read('a')).phases.map(({ planKey }) => planKey)).toEqual(['small', 'large'])
  })

  test('one that prices what another subscription prices at that time is refused', async () => {
    const world = await small()
    await world.fee('fee', '1.00')
    await world.create({ externalKey: 'a2', customer: 'a', planKey: 'fee', startMs: NOVEMBER })
    await expect(world.toPlan('a2', 'large')).rejects.toMatchObject({ code: 'conflict' })
    expect((await world.read('a2')).phases).toHaveLength(1)
    // From when the other has a plan without meters, it may; and the other may not go back.
    await world.toPlan('a', 'fee', 'period_end')
    world.clock.nowMs = DECEMBER
    await world.toPlan('a2', 'large')
    await expect(world.toPlan('a', 'large')).rejects.toMatchObject({ code: 'conflict' })
    const stored = await world.read('a')
    await world.transact(world.tenantId, (tx) => refuseOverlap(tx, stored))
  })
})

describe('a run and changes of plan', () => {
  test('a plan that is changed between reading and issuing is billed as it is', async () => {
    const world = await small()
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    let changed = 0
    const runId = await world.run(undefined, (write) => async (step) => {
      await write(step)
      if (step !== 'issue' || changed > 0) return
      changed += 1
      // What is not invoiced may be changed still: the clock of whoever asks is behind.
      world.clock.nowMs = NOVEMBER + 15 * DAY_MS
      await world.toPlan('a', 'large')
      world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    })
    expect(await world.transact(world.tenantId, (tx) => readRun(tx, runId))).toMatchObject({ state: 'completed' })
    expect((await world.lines('a')).filter(([, charge]) => charge === 'base')).toEqual([
      ['11-01', 'base', '2.50'],
      ['11-16', 'base', '10.00'],
    ])
  })

  test('C4: an upgrade on the day of the boundary, the invoice retried, two runners at once: each period once', async () => {
    const world = await small()
    world.use('a', 'context_tokens', '4', DECEMBER - 1)
    world.use('a', 'context_tokens', '5', DECEMBER + 12 * HOUR_MS)
    world.clock.nowMs = DECEMBER + 12 * HOUR_MS
    const upgrade = () => world.toPlan('a', 'large', null, 'upgrade')
    await Promise.all([world.run(), upgrade(), world.run()])
    await upgrade()
    await world.run()
    world.clock.nowMs = JANUARY + 2 * HOUR_MS
    await Promise.all([world.run(), world.run()])
    await upgrade()
    await world.run()
    expect(await world.lines('a')).toEqual([
      ['11-01', 'base', '5.00'],
      ['11-01', 'calls', '4.00'],
      // Half a day of 31, and the rest.
      ['12-01', 'base', '0.08'],
      ['12-01', 'calls', '0.00'],
      ['12-01', 'base', '19.68'],
      ['12-01', 'calls', '2.00'],
    ])
    expect(world.charged).toHaveLength(2)
  })

  test('usage that comes late for a period with a change is billed by the plan of its time, tiers included', async () => {
    const world = await small(NOVEMBER + 10 * DAY_MS)
    world.use('a', 'context_tokens', '9', NOVEMBER)
    await world.toPlan('a', 'large')
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await world.run()
    // Of 3 units 1 is priced in the first tier of the small plan, and 2 in its second.
    world.use('a', 'context_tokens', '3', NOVEMBER + DAY_MS, world.clock.nowMs + 1)
    world.clock.nowMs = JANUARY + 2 * HOUR_MS
    await world.run()
    const [, december] = (await world.invoices()).sort((a, b) => a.periodStartMs - b.periodStartMs)
    expect(december!.lines.map(({ chargeKey, amountMinor }) => [chargeKey, amountMinor])).toEqual([
      ['base', 2000n],
      ['calls', 0n],
      ['calls', 200n],
    ])
  })

  test('time that is invoiced is not changed: by a clock that is behind, the change begins behind it', async () => {
    const world = await small(DECEMBER + 2 * HOUR_MS)
    await world.run()
    world.clock.nowMs = DECEMBER - DAY_MS
    await world.toPlan('a', 'large')
    expect((await world.read('a')).phases.map(({ startMs }) => startMs)).toEqual([NOVEMBER, DECEMBER])
  })
})
