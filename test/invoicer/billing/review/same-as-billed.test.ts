import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { listDrafts } from '../../../../invoicer/billing/review/drafts.postgres.ts'
import { runs } from '../../../support/runs.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, JANUARY, TOO_MUCH, type World } from '../../support/world.ts'
import { DAY_MS, DOLLARS, open, work } from './reviewed-world.ts'

// A bound against hanging, not a promise: other work may share the machine.
let database: TestDatabase
let tenants = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

type Case = {
  chunkSize: number
  fees: 'in_advance' | 'in_arrears'
  /** Months before, when a run billed all that was due then. */
  billedBefore: number | null
  subscriptions: { months: number; ends: boolean; usage: number[]; item: number; late: number; isHuge: boolean }[]
}
/** Of up to five subscriptions: for how many months nothing was billed, and whether the contract ended before. */
const anyCase: fc.Arbitrary<Case> = fc.record({
  chunkSize: fc.integer({ min: 1, max: 4 }),
  fees: fc.constantFrom('in_advance', 'in_arrears'),
  billedBefore: fc.option(fc.integer({ min: 1, max: 6 })),
  subscriptions: fc.array(
    fc.record({
      months: fc.integer({ min: 1, max: 15 }),
      ends: fc.boolean(),
      usage: fc.array(fc.integer({ min: 0, max: 5_000_000 }), { minLength: 15, maxLength: 15 }),
      item: fc.integer({ min: -2_000, max: 2_000 }),
      late: fc.integer({ min: -2_000_000, max: 3_000_000 }),
      isHuge: fc.integer({ min: 0, max: 7 }).map((one) => one === 0),
    }),
    { minLength: 1, maxLength: 5 },
  ),
})

const monthsBefore = (months: number) => Date.UTC(2024, -months, 1)

async function worldOf({ chunkSize, fees, billedBefore, subscriptions }: Case): Promise<World> {
  tenants += 1
  const world = await createWorld(database, `same-${tenants}`)
  world.deps.chunkSize = chunkSize
  await world.plan({ fees })
  await world.plan(DOLLARS)
  world.clock.nowMs = JANUARY + DAY_MS
  for (const [index, { months, ends, usage, item, isHuge }] of subscriptions.entries()) {
    const [name, startMs] = [`s${index}`, monthsBefore(months)]
    // Some end in the middle of a month.
    const endMs = ends ? monthsBefore(Math.floor(months / 2)) + (index % 2) * 9 * DAY_MS + DAY_MS : null
    await world.subscribe(name, { startMs, endMs, plan: 'llm' })
    for (const [month, tokens] of usage.entries()) {
      world.use(name, 'context_tokens', String(tokens), monthsBefore(month + 1) + DAY_MS)
    }
    if (isHuge) world.use(name, 'generated_tokens', TOO_MUCH, monthsBefore(1) + DAY_MS)
    if (item !== 0) {
      const said = { externalKey: name, customer: name, subscription: null, description: 'Item', currency: null }
      const amount = (item / 100).toFixed(2)
      await world.transact(world.tenantId, (tx) =>
        createItem(tx, { ...said, amount, quantity: null, unitAmount: null }, world),
      )
    }
  }
  if (billedBefore !== null) await billEarlier(world, billedBefore, subscriptions)
  return world
}

async function billEarlier(world: World, months: number, subscriptions: Case['subscriptions']): Promise<void> {
  world.clock.nowMs = monthsBefore(months) + DAY_MS
  await world.run()
  for (const [index, { late }] of subscriptions.entries()) {
    const timeMs = monthsBefore(months + 1) + DAY_MS
    world.use(`s${index}`, 'context_tokens', String(late), timeMs, world.clock.nowMs + 1)
  }
  world.clock.nowMs = JANUARY + DAY_MS
}

const lineOf = (name: string, startMs: number, offCycle: boolean, totalMinor: bigint) =>
  `${name} ${new Date(startMs).toISOString()} ${offCycle} ${totalMinor}`

async function draftedLines(world: World, runId: string) {
  const filter = { onlyAnomalies: false, kind: null, currency: null }
  const drafts = await world.transact(world.tenantId, (tx) =>
    listDrafts(tx, runId, filter, { limit: 999, after: null }),
  )
  const of = (kind: string) => drafts.filter((one) => one.kind === kind)
  return {
    invoices: of('invoice')
      .map((one) => lineOf(one.customer, one.periodStartMs, one.offCycle, one.amountMinor))
      .sort(),
    parked: of('parked')
      .map(({ subscriptionId, reason }) => `${subscriptionId} ${reason}`)
      .sort(),
  }
}

async function billedLines(world: World, runId: string) {
  const { rows } = await world.transact(world.tenantId, (tx) =>
    tx.query<{ text: string }>(
      "SELECT subscription_id || ' ' || reason AS text FROM parked_subscriptions WHERE billing_run_id = $1",
      [runId],
    ),
  )
  return {
    invoices: (await world.invoices())
      .filter(({ billingRunId }) => billingRunId === runId)
      .map((one) => lineOf(one.customer.externalKey, one.periodStartMs, one.offCycle, one.totalMinor))
      .sort(),
    parked: rows.map(({ text }) => text).sort(),
  }
}

test('a dry run drafts what the run then bills and parks, whatever is due and however it is cut into chunks', async () => {
  let compared = 0
  await fc.assert(
    fc.asyncProperty(anyCase, async (one) => {
      const world = await worldOf(one)
      const dry = await open(world, true)
      await expect(work(world, dry)).resolves.toBe('completed')
      const expected = await draftedLines(world, dry)
      const runId = await world.run()
      expect(await billedLines(world, runId)).toEqual(expected)
      compared += expected.invoices.length
    }),
    { numRuns: runs(12) },
  )
  // In some cases nothing is due.
  expect(compared).toBeGreaterThan(5)
})
