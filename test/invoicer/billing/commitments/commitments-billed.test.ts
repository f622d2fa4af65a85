import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cancelSubscription } from '../../../../invoicer/agreements/subscriptions/cancel-subscription.ts'
import { changeSubscription } from '../../../../invoicer/agreements/subscriptions/change-subscription.ts'
import { listToSettle } from '../../../../invoicer/billing/commitments/draws.postgres.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { change, HOUR_MS, runAt, voidWorld } from '../../collection/voids/void-world.ts'
import type { World } from '../../support/world.ts'

const DAY_MS = 24 * HOUR_MS
const month = (index: number) => Date.UTC(2023, 10 + index, 1)
const price = {
  ...{ model: 'per_unit', unit_amount: '1' },
  ...{ commitment_amount: '1000', overage_factor: '1.5', commitment_periods: 3 },
} as const
const COMMITTED = { key: 'use', name: 'Use', meter: 'context_tokens', price } as const
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** `a` commits to 1,000.00 in three months, and pays half as much again for what goes beyond; payments are declined. */
async function committed(...used: number[]): Promise<World> {
  const { world } = await voidWorld(database, [COMMITTED as never])
  await world.subscribe('a', { endMs: null })
  for (const [index, tokens] of used.entries()) use(world, index, tokens)
  return world
}
/** In the month; known then, or at another time. */
const use = (world: World, index: number, tokens: number, knownAtMs = month(index) + DAY_MS) =>
  world.use('a', 'context_tokens', String(tokens), month(index) + DAY_MS, knownAtMs)
/** Two hours behind the end of each of so many months. */
async function runMonths(world: World, from: number, to: number): Promise<void> {
  for (let index = from; index < to; index += 1) await runAt(world, month(index + 1) + 2 * HOUR_MS)
}
async function lines(world: World): Promise<string[][]> {
  const invoices = (await world.invoices()).filter(({ state }) => state !== 'void')
  return invoices.map((invoice) =>
    invoice.lines.map(({ description, amountMinor }) => `${description} ${formatMoney(amountMinor, 'USD')}`),
  )
}
async function billedMinor(world: World): Promise<bigint> {
  const invoices = (await world.invoices()).filter(({ state }) => state !== 'void')
  return invoices.reduce((sum, { totalMinor }) => sum + totalMinor, 0n)
}

/** What living invoices come to, and what credit notes gave back of them. */
async function standingOf(world: World): Promise<{ billed: bigint; given: bigint }> {
  const invoices = (await world.invoices()).filter(({ state }) => state !== 'void')
  const given = invoices.reduce((sum, { creditedMinor }) => sum + creditedMinor, 0n)
  return { billed: await billedMinor(world), given }
}

/** SUB-1; billing-rules: "the true-up at the period's (or window's) end brings the charge to the commitment". */
describe('a commitment that three months have together', () => {
  test('is drawn down month by month, and has its overage where they go beyond it', async () => {
    const world = await committed(200, 300, 600, 50)
    await runMonths(world, 0, 4)
    expect(await lines(world)).toEqual([['Use 200.00'], ['Use 300.00'], ['Use 650.00'], ['Use 50.00']])
  })

  test('is the same where one run bills all of them', async () => {
    const world = await committed(200, 300, 100, 2000)
    await runMonths(world, 3, 4)
    expect(await lines(world)).toEqual([
      ['Use 200.00'],
      ['Use 300.00'],
      ['Use 100.00', 'Use (commitment) 400.00'],
      ['Use 2500.00'],
    ])
  })

  test('is prorated where the subscription ends before, and settled there', async () => {
    const world = await committed(200, 300)
    await runMonths(world, 0, 1)
    world.clock.nowMs = month(1) + DAY_MS
    await world.transact(world.tenantId, (tx) => cancelSubscription(tx, 'a', 'period_end', world))
    await runMonths(world, 1, 3)
    // 1,000.00 for three months are 666.67 for two.
    expect(await lines(world)).toEqual([['Use 200.00'], ['Use 300.00', 'Use (commitment) 166.67']])
  })

  test('takes usage that comes late as if it had been there: below the commitment it costs nothing more', async () => {
    const world = await committed(200, 300, 100)
    await runMonths(world, 0, 3)
    use(world, 0, 300, month(3) + DAY_MS)
    await runMonths(world, 3, 4)
    expect((await lines(world)).slice(3)).toEqual([['Use 0.00']])
    use(world, 1, 200, month(4) + DAY_MS)
    await runMonths(world, 4, 5)
    // 1,100 by now: what came late a month before counts.
    expect((await lines(world)).slice(4)).toEqual([['Use 0.00', 'Use (late usage, 2023-12-01 to 2023-12-31) 150.00']])
  })

  test('rates late usage of several months in one run, each once', async () => {
    const world = await committed(200, 300, 100)
    await runMonths(world, 0, 2)
    for (const index of [0, 1]) use(world, index, 400, month(2) + 2 * DAY_MS)
    await runMonths(world, 2, 3)
    // 600 and 700 by now: 1,000.00 and 300 × 1.5, of which 500.00 are billed; then 100 × 1.5.
    expect((await lines(world))[2]).toEqual([
      'Use 150.00',
      'Use (late usage, 2023-11-01 to 2023-11-30) 400.00',
      'Use (late usage, 2023-12-01 to 2023-12-31) 550.00',
    ])
    expect(await billedMinor(world)).toBe(160_000n)
  })

  test('gives overage back on the invoice that billed it, where less was used before', async () => {
    const world = await committed(200, 900)
    await runMonths(world, 0, 2)
    expect(await lines(world)).toEqual([['Use 200.00'], ['Use 950.00']])
    use(world, 0, -200, month(2) + DAY_MS)
    for (const day of [2, 3]) await runAt(world, month(2) + day * DAY_MS)
    await runMonths(world, 2, 3)
    const invoices = await world.invoices()
    // 900 in all: 900.00, and the 100.00 that the third month brings them up by.
    expect(invoices.map(({ totalMinor, creditedMinor }) => [totalMinor, creditedMinor])).toEqual([
      [20_000n, 20_000n],
      [95_000n, 5_000n],
      [10_000n, 0n],
    ])
  })

  test('gives overage back behind an invoice that is void, which it was made up for with', async () => {
    const world = await committed(1000, 2000)
    await runMonths(world, 0, 2)
    use(world, 0, -900, month(2) + DAY_MS)
    use(world, 2, 300)
    await runMonths(world, 2, 3)
    // 1,000.00 are given back, of 3,000.00 350.00 more would be; but 2,400 in all are 3,100.00.
    const [, , third] = await world.invoices()
    expect([third!.totalMinor, (await standingOf(world)).given]).toEqual([10_000n, 100_000n])
    await change(world, third!.id, 'void')
    for (const day of [1, 2, 3]) await runAt(world, month(3) + day * DAY_MS)
    const { billed, given } = await standingOf(world)
    expect(billed - given).toBe(265_000n)
    const draws = await world.transact(world.tenantId, (tx) => listToSettle(tx))
    expect(draws).toEqual([])
  })

  test('is settled where its subscription ends in a pause, behind what was billed before', async () => {
    const world = await committed(200, 100)
    const changed = (what: object, key: string) =>
      world.transact(world.tenantId, (tx) =>
        changeSubscription(tx, 'a', what as never, key, { ...world, isDowngrade: () => false }),
      )
    world.clock.nowMs = month(1) + 14 * DAY_MS
    await changed({ pause: 'now', bill: false }, 'pause')
    await changed({ resume: { atMs: month(2) + 14 * DAY_MS } }, 'resume')
    await runMonths(world, 0, 2)
    expect(await lines(world)).toEqual([['Use 200.00'], ['Use 100.00']])
    world.clock.nowMs = month(2) + 9 * DAY_MS
    await changed({ cancel: 'now' }, 'cancel')
    await runMonths(world, 2, 4)
    // 1,000.00 for a month and 14 of 31 days, of three months: 483.87.
    expect((await lines(world)).flat().slice(2)).toEqual(['Use (commitment, 2023-12-01 to 2023-12-14) 183.87'])
    await runAt(world, month(5))
    expect(await billedMinor(world)).toBe(48_387n)
  })

  test('is billed anew with an invoice that is issued anew, and not by one that is void alone', async () => {
    const world = await committed(200, 300, 600)
    await runMonths(world, 0, 3)
    const [first] = await world.invoices()
    await expect(change(world, first!.id, 'void')).rejects.toThrow('Other periods drew on its commitment')
    use(world, 0, 100, month(3))
    await change(world, first!.id, 'reissue')
    await runMonths(world, 3, 4)
    // 1,200 in all: 1,300.00, of which 950.00 are billed.
    expect((await lines(world)).sort()).toEqual([['Use 0.00'], ['Use 300.00'], ['Use 350.00'], ['Use 650.00']])
    const last = (await world.invoices()).at(-1)
    expect(await change(world, last!.id, 'void')).toMatchObject({ state: 'void' })
  })

  test('bills a month again that somebody else’s late usage moved while it was rated', async () => {
    const world = await committed(200, 900)
    await runMonths(world, 0, 1)
    use(world, 0, 500, month(1) + DAY_MS)
    world.clock.nowMs = month(2) + 2 * HOUR_MS
    const { quantities } = world.deps.usage
    let reads = 0
    const usage = {
      ...world.deps.usage,
      quantities: async (...asked: Parameters<typeof quantities>) => {
        reads += 1
        // The first reading is of November's late usage; with December's this run is behind that.
        const answers = await quantities(...asked)
        if (reads === 2) {
          use(world, 0, 700, month(1) + DAY_MS)
          world.clock.nowMs += 1
          const { id } = await world.transact(world.tenantId, (tx) => openRun(tx, { asOfMs: month(1) + DAY_MS }, world))
          await runBilling(world.deps, progressInPostgres(world.transact, world.tenantId, id), world.tenantId, id)
        }
        return answers
      },
    }
    const { id } = await world.transact(world.tenantId, (tx) => openRun(tx, { asOfMs: world.clock.nowMs }, world))
    await runBilling(
      { ...world.deps, usage },
      progressInPostgres(world.transact, world.tenantId, id),
      world.tenantId,
      id,
    )
    expect(reads).toBeGreaterThan(2)
    await runMonths(world, 2, 3)
    // 200 + 500 + 700 and 900: 1,000.00 and 1,300 × 1.5.
    expect(await billedMinor(world)).toBe(295_000n)
  })

  test('comes to what all months cost together, whatever came late, and when', async () => {
    const event = fc.record({
      index: fc.integer({ min: 0, max: 5 }),
      tokens: fc.integer({ min: 0, max: 700 }),
      lateByMonths: fc.integer({ min: 0, max: 3 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 8 }), async (events) => {
        const world = await committed()
        for (const { index, tokens, lateByMonths } of events) {
          use(world, index, tokens, month(index + lateByMonths) + 5 * DAY_MS)
        }
        await runMonths(world, 0, 10)
        const costOf = (from: number) => {
          const all = events.filter(({ index }) => Math.floor(index / 3) === from / 3)
          const used = all.reduce((sum, { tokens }) => sum + tokens, 0)
          return used <= 1000 ? 1000 : 1000 + (used - 1000) * 1.5
        }
        // Four windows: six months of events, three without any, and one that has begun.
        const expected = costOf(0) + costOf(3) + costOf(6)
        expect(formatMoney(await billedMinor(world), 'USD')).toBe(expected.toFixed(2))
      }),
      { numRuns: 6 },
    )
  })
})
