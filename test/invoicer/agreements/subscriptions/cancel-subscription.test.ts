import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cancel, cancelSubscription } from '../../../../invoicer/agreements/subscriptions/cancel-subscription.ts'
import { createSubscription } from '../../../../invoicer/agreements/subscriptions/create-subscription.ts'
import { readSubscription } from '../../../../invoicer/agreements/subscriptions/read-subscription.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { listBillingEvents } from '../../../../invoicer/outbox/history.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, summary, type World } from '../../support/world.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** One subscription from November on, without an end unless told. */
async function subscribed(nowMs: number, change: { endMs?: number | null; startMs?: number } = {}): Promise<World> {
  worlds += 1
  const world = await createWorld(database, `cancel-${worlds}`)
  world.clock.nowMs = nowMs
  await world.plan()
  await world.subscribe('a', { endMs: null, ...change })
  return world
}

const cancel = (world: World, when: Cancel, name = 'a') =>
  world.transact(world.tenantId, (tx) => cancelSubscription(tx, name, when, world))
const read = (world: World, name = 'a') => world.transact(world.tenantId, (tx) => readSubscription(tx, name))
const changesOf = async (world: World) => {
  const page = { after: null, limit: 100 }
  const events = await world.transact(world.tenantId, (tx) =>
    listBillingEvents(tx, { invoice: null, customer: null }, page),
  )
  return events.filter(({ event }) => event === 'subscription.updated').map(({ data }) => data.change)
}

describe('a subscription is cancelled (TCP-2, EPIC-2)', () => {
  test('with the period that runs: it goes on until then, is billed for it, and has ended', async () => {
    const world = await subscribed(NOVEMBER + 10 * DAY_MS)
    const answer = { state: 'cancelled', endMs: DECEMBER, nextPeriod: { startMs: NOVEMBER, endMs: DECEMBER } }
    expect(await cancel(world, 'period_end')).toMatchObject(answer)
    expect(await cancel(world, 'period_end')).toMatchObject(answer)
    world.use('a', 'context_tokens', '1000000', DECEMBER - 1)
    world.use('a', 'context_tokens', '9000000', DECEMBER)
    world.clock.nowMs = JANUARY + 2 * HOUR_MS
    await world.run()
    expect(summary(await world.invoices())).toEqual(['a 2023-11-01: 20.00 + 3.00 + 0.00 = 23.00 paid'])
    expect(await read(world)).toMatchObject({ state: 'ended', endMs: DECEMBER, nextPeriod: null })
    expect(await changesOf(world)).toEqual(['cancelled', 'ended'])
  })

  test('at once: the fee is that of the part that was served', async () => {
    const world = await subscribed(NOVEMBER + 15 * DAY_MS + 30_500)
    world.use('a', 'context_tokens', '1000000', NOVEMBER + DAY_MS)
    expect(await cancel(world, 'now')).toMatchObject({ state: 'cancelled', endMs: NOVEMBER + 15 * DAY_MS })
    world.clock.nowMs = NOVEMBER + 15 * DAY_MS + 2 * HOUR_MS
    await world.run()
    expect(summary(await world.invoices())).toEqual(['a 2023-11-01: 10.00 + 3.00 + 0.00 = 13.00 paid'])
    expect(await read(world)).toMatchObject({ state: 'ended' })
  })

  test('at once, after it was cancelled for the end of the period', async () => {
    const world = await subscribed(NOVEMBER + DAY_MS)
    await cancel(world, 'period_end')
    world.clock.nowMs += DAY_MS
    expect(await cancel(world, 'now')).toMatchObject({ endMs: NOVEMBER + 2 * DAY_MS })
    // The end has come: neither this nor that moves it any more.
    world.clock.nowMs += DAY_MS
    expect(await cancel(world, 'now')).toMatchObject({ endMs: NOVEMBER + 2 * DAY_MS })
    expect(await cancel(world, 'period_end')).toMatchObject({ endMs: NOVEMBER + 2 * DAY_MS })
    expect(await changesOf(world)).toEqual(['cancelled', 'cancelled'])
  })

  test('before it begins: it never does, and nothing is billed', async () => {
    const world = await subscribed(NOVEMBER - DAY_MS)
    expect(await cancel(world, 'period_end')).toMatchObject({ state: 'ended', endMs: NOVEMBER, nextPeriod: null })
    expect(await changesOf(world)).toEqual(['cancelled', 'ended'])
    world.clock.nowMs = JANUARY
    await world.run()
    expect(await world.invoices()).toEqual([])
  })

  test('in the minute in which its next period starts: that one never begins', async () => {
    const world = await subscribed(DECEMBER + 2 * HOUR_MS)
    await world.run()
    world.clock.nowMs = DECEMBER + 30_000
    expect(await cancel(world, 'now')).toMatchObject({ state: 'ended', endMs: DECEMBER, nextPeriod: null })
  })

  test('with months that are not billed yet: these are billed, and the last one up to its end', async () => {
    const world = await subscribed(DECEMBER + 15.5 * DAY_MS)
    expect(await cancel(world, 'now')).toMatchObject({ nextPeriod: { startMs: NOVEMBER, endMs: DECEMBER } })
    world.clock.nowMs = JANUARY
    await world.run()
    expect(summary(await world.invoices())).toEqual([
      'a 2023-11-01: 20.00 + 0.00 + 0.00 = 20.00 paid',
      'a 2023-12-01: 10.00 + 0.00 + 0.00 = 10.00 paid',
    ])
  })

  test('after its contract has ended nothing changes, though its last period is not billed yet', async () => {
    const endMs = NOVEMBER + 20 * DAY_MS
    const world = await subscribed(endMs + 60_000, { endMs })
    const before = await read(world)
    for (const when of ['now', 'period_end', null] as const) expect(await cancel(world, when)).toEqual(before)
    expect(await changesOf(world)).toEqual([])
  })

  test('never behind the end of its contract', async () => {
    const endMs = NOVEMBER + 20 * DAY_MS
    const world = await subscribed(NOVEMBER + DAY_MS, { endMs })
    expect(await cancel(world, 'period_end')).toMatchObject({ state: 'cancelled', endMs })
    expect(await cancel(world, null)).toMatchObject({ state: 'active', endMs })
  })
})

describe('a cancellation is taken back', () => {
  test('while its end lies ahead: everything is as it was before', async () => {
    const world = await subscribed(NOVEMBER + DAY_MS)
    const before = await read(world)
    await cancel(world, 'period_end')
    expect(await cancel(world, null)).toEqual(before)
    expect(await read(world)).toEqual(before)
    expect(await cancel(world, null)).toEqual(before)
    expect(await changesOf(world)).toEqual(['cancelled', 'cancellation_taken_back'])
  })

  test('not once its end has come, and not after its last invoice', async () => {
    const world = await subscribed(NOVEMBER + DAY_MS)
    await cancel(world, 'now')
    const cancelled = await read(world)
    await expect(cancel(world, null)).rejects.toMatchObject({ code: 'illegal_state' })
    expect(await read(world)).toEqual(cancelled)
    world.clock.nowMs = JANUARY
    await world.run()
    const ended = await read(world)
    for (const when of [null, 'now', 'period_end'] as const) {
      await expect(cancel(world, when)).rejects.toMatchObject({ code: 'illegal_state' })
    }
    expect(await read(world)).toEqual(ended)
  })

  test('not where another subscription took its place: the same usage would be billed twice', async () => {
    const world = await subscribed(NOVEMBER + DAY_MS)
    await cancel(world, 'period_end')
    const input = { externalKey: 'b', customer: 'a', planKey: 'llm', startMs: DECEMBER, endMs: null }
    await world.transact(world.tenantId, (tx) => createSubscription(tx, input, world))
    await expect(cancel(world, null)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('"b"'),
    })
    expect(await read(world)).toMatchObject({ state: 'cancelled' })
  })
})

/** Such a subscription has no time of its own, and takes no place. */
test('one that was cancelled before it began stands in nobody’s way', async () => {
  const world = await subscribed(NOVEMBER + DAY_MS)
  const create = (externalKey: string, startMs: number) =>
    world.transact(world.tenantId, (tx) =>
      createSubscription(tx, { externalKey, customer: 'a', planKey: 'llm', startMs, endMs: null }, world),
    )
  await cancel(world, 'period_end')
  await create('b', DECEMBER)
  await cancel(world, 'now', 'b')
  expect(await cancel(world, null)).toMatchObject({ state: 'active', endMs: null })
  await cancel(world, 'period_end')
  expect(await create('c', DECEMBER)).toMatchObject({ created: true })
})

/** Stored before a country changed its clocks: the calendar has the period start an hour later now. */
test('a period that is stored apart from the calendar is not cut to the piece between them', async () => {
  const world = await subscribed(NOVEMBER + DAY_MS)
  const [startMs, endMs] = [NOVEMBER + HOUR_MS, DECEMBER - HOUR_MS]
  await world.transact(world.tenantId, (tx) =>
    tx.query('UPDATE subscriptions SET next_period_start = $1, next_period_end = $2', [
      new Date(startMs),
      new Date(endMs),
    ]),
  )
  const cancelled = { state: 'cancelled', endMs, nextPeriod: { startMs, endMs } }
  expect(await cancel(world, 'period_end')).toMatchObject(cancelled)
  expect(await cancel(world, 'period_end')).toMatchObject(cancelled)
  expect(await cancel(world, null)).toMatchObject({ state: 'active', nextPeriod: { startMs, endMs: DECEMBER } })
})

/** As a process of before this one leaves it: moved on to nothing, and active. */
test('one with nothing left to bill has ended, whatever its row says', async () => {
  const world = await subscribed(NOVEMBER + DAY_MS, { endMs: DECEMBER })
  await world.transact(world.tenantId, (tx) =>
    tx.query('UPDATE subscriptions SET next_period_start = NULL, next_period_end = NULL'),
  )
  expect(await read(world)).toMatchObject({ state: 'ended', endMs: DECEMBER, contractEndMs: DECEMBER })
  await expect(cancel(world, 'now')).rejects.toMatchObject({ code: 'illegal_state' })
})

test('created again with the same content, a cancelled subscription is answered as it is', async () => {
  const world = await subscribed(NOVEMBER + DAY_MS)
  const cancelled = await cancel(world, 'period_end')
  const input = { externalKey: 'a', customer: 'a', planKey: 'llm', startMs: NOVEMBER, endMs: null }
  const again = await world.transact(world.tenantId, (tx) => createSubscription(tx, input, world))
  expect(again).toEqual({ subscription: cancelled, created: false })
})

/** The run read it before: without a look at its end it would have stored a period behind the cancellation. */
test('cancelled while a run rates it, it is rated again by the same run, and nothing is billed behind its end', async () => {
  const world = await subscribed(DECEMBER + 2 * HOUR_MS)
  await world.subscribe('b', { endMs: null })
  const { usage } = world.deps
  let asked = 0
  world.deps.usage = {
    ...usage,
    quantities: async (...question) => {
      asked += 1
      if (asked === 1) await cancel(world, 'now')
      return usage.quantities(...question)
    },
  }
  const runId = await world.run()
  expect(await world.transact(world.tenantId, (tx) => readRun(tx, runId))).toMatchObject({ parked: [] })
  expect(summary(await world.invoices()).sort()).toEqual([
    'a 2023-11-01: 20.00 + 0.00 + 0.00 = 20.00 paid',
    'b 2023-11-01: 20.00 + 0.00 + 0.00 = 20.00 paid',
  ])
  const endMs = DECEMBER + 2 * HOUR_MS
  expect(await read(world)).toMatchObject({ state: 'cancelled', endMs, nextPeriod: { startMs: DECEMBER, endMs } })
  world.clock.nowMs = JANUARY
  await world.run()
  // 2 of 744 hours.
  expect(summary(await world.invoices()).filter((line) => line.startsWith('a 2023-12'))).toEqual([
    'a 2023-12-01: 0.05 + 0.00 + 0.00 = 0.05 paid',
  ])
})

/** Whatever is asked and whenever runs come: what was billed tiles the time from its start to its end. */
test('its invoices tile its time, in any order of cancelling, taking back and billing', async () => {
  const step = fc.record({
    waitMs: fc.integer({ min: 0, max: 40 * DAY_MS }),
    act: fc.constantFrom<'run' | Cancel>('run', 'run', 'now', 'period_end', null),
  })
  let ended = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), fc.boolean(), async (steps, isLimited) => {
      const contractEndMs = isLimited ? NOVEMBER + 70 * DAY_MS : null
      const world = await subscribed(NOVEMBER - 20 * DAY_MS, { endMs: contractEndMs })
      for (const { waitMs, act } of steps) {
        world.clock.nowMs += waitMs
        if (act === 'run') await world.run()
        else await cancel(world, act).catch((error: unknown) => expect(error).toMatchObject({ code: 'illegal_state' }))
      }
      const { state, endMs, nextPeriod } = await read(world)
      const invoices = await world.invoices()
      let billedMs = NOVEMBER
      for (const { periodStartMs, periodEndMs } of invoices) {
        expect(periodStartMs).toBe(billedMs)
        billedMs = periodEndMs
      }
      expect(nextPeriod === null).toBe(state === 'ended')
      expect(nextPeriod?.startMs ?? endMs).toBe(billedMs)
      if (state === 'active') expect(endMs).toBe(contractEndMs)
      if (state === 'ended') ended += 1
    }),
    { numRuns: 40 },
  )
  expect(ended).toBeGreaterThan(0)
})
