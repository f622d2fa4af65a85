import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import { listBillingEvents } from '../../../../invoicer/outbox/history.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, summary, TOO_MUCH, type World } from '../../support/world.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
let database: TestDatabase
let tenants = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

async function worldWithPlan(): Promise<World> {
  tenants += 1
  const world = await createWorld(database, `run-${tenants}`)
  await world.plan()
  return world
}

const reportOf = (world: World, runId: string) => world.transact(world.tenantId, (tx) => readRun(tx, runId))

describe('a billing run', () => {
  test("bills the demo's customer-0 20.00 + 6.55 + 5.29 = 31.84, and pays it", async () => {
    const world = await worldWithPlan()
    await world.subscribe('customer-0')
    world.use('customer-0', 'context_tokens', '2182000', NOVEMBER)
    world.use('customer-0', 'context_tokens', '292', DECEMBER - 1)
    world.use('customer-0', 'context_tokens', '1000000', DECEMBER)
    world.use('customer-0', 'generated_tokens', '415760', NOVEMBER + HOUR_MS)
    const runId = await world.run()
    const [invoice, ...others] = await world.invoices()
    expect(others).toEqual([])
    expect(summary([invoice!])).toEqual(['customer-0 2023-11-01: 20.00 + 6.55 + 5.29 = 31.84 paid'])
    expect(invoice).toMatchObject({ number: 'INV-000001', periodEndMs: DECEMBER, billingRunId: runId })
    expect(invoice!.lines.map((line) => line.usage && [line.usage.quantity, line.usage.events])).toEqual([
      null,
      ['2182292', 2],
      ['415760', 1],
    ])
    expect(await reportOf(world, runId)).toMatchObject({
      state: 'completed',
      step: 'complete',
      subscriptionsDue: 1,
      invoicesCreated: 1,
      parked: [],
      seal: { knownBeforeMs: world.clock.nowMs + 1, eventCount: 4, digest: '10' },
    })
    expect(world.charged).toHaveLength(1)
  })

  test('keeps quantity, count, digest and seal with the line (design §4.5)', async () => {
    const world = await worldWithPlan()
    await world.subscribe('a')
    world.use('a', 'context_tokens', '1.5', NOVEMBER)
    world.use('a', 'context_tokens', '2.25', NOVEMBER)
    const runId = await world.run()
    const [invoice] = await world.invoices()
    const { seal } = await reportOf(world, runId)
    expect(invoice!.lines[1]!.usage).toEqual({
      counted: null,
      quantity: '3.75',
      events: 2,
      digest: '3',
      sealId: seal!.id,
    })
  })

  test('counts what was known when it started, not what came later', async () => {
    const world = await worldWithPlan()
    await world.subscribe('a')
    world.use('a', 'context_tokens', '1000000', NOVEMBER, world.clock.nowMs)
    world.use('a', 'context_tokens', '1000000', NOVEMBER, world.clock.nowMs + 1)
    await world.run()
    expect(summary(await world.invoices())).toEqual(['a 2023-11-01: 20.00 + 3.00 + 0.00 = 23.00 paid'])
  })

  test('bills a period when its end and grace lie at or before as_of, not earlier', async () => {
    const world = await worldWithPlan()
    await world.subscribe('a')
    await world.run(DECEMBER + HOUR_MS - 1)
    expect(await world.invoices()).toEqual([])
    await world.run(DECEMBER + HOUR_MS)
    expect(await world.invoices()).toHaveLength(1)
  })

  test('bills every due period of a subscription that starts in the past, in order', async () => {
    const world = await worldWithPlan()
    await world.subscribe('a', { startMs: Date.UTC(2021, 0, 1), endMs: null })
    await world.subscribe('b', { startMs: NOVEMBER, endMs: null })
    await world.run()
    const invoices = await world.invoices()
    const ofA = invoices.filter((invoice) => invoice.customer.externalKey === 'a')
    expect(ofA).toHaveLength(36)
    expect(ofA.every((invoice, index) => index === 0 || invoice.periodStartMs === ofA[index - 1]!.periodEndMs)).toBe(
      true,
    )
    expect(invoices).toHaveLength(38)
    expect(new Set(invoices.map((invoice) => invoice.number)).size).toBe(38)
  })

  test('prorates the flat fee where the start or the contract end cuts the period, and never usage', async () => {
    const world = await worldWithPlan()
    await world.subscribe('a', { startMs: NOVEMBER + 20 * DAY_MS, endMs: DECEMBER + 3 * DAY_MS })
    world.use('a', 'context_tokens', '1000000', NOVEMBER + 19 * DAY_MS)
    world.use('a', 'context_tokens', '1000000', NOVEMBER + 20 * DAY_MS)
    world.use('a', 'context_tokens', '2000000', DECEMBER)
    world.use('a', 'context_tokens', '1000000', DECEMBER + 3 * DAY_MS)
    await world.run()
    // 20.00 × 10/30 = 6.67; 20.00 − 20.00 × 28/31 = 20.00 − 18.06 = 1.94.
    expect(summary(await world.invoices())).toEqual([
      'a 2023-11-21: 6.67 + 3.00 + 0.00 = 9.67 paid',
      'a 2023-12-01: 1.94 + 6.00 + 0.00 = 7.94 paid',
    ])
    await world.run()
    expect(await world.invoices()).toHaveLength(2)
  })

  test("takes a calendar month in the customer's zone", async () => {
    const world = await worldWithPlan()
    const zone = 'America/New_York'
    await world.subscribe('a', { startMs: NOVEMBER + 4 * HOUR_MS, endMs: DECEMBER + 5 * HOUR_MS, timezone: zone })
    world.use('a', 'context_tokens', '1000000', DECEMBER + 5 * HOUR_MS - 1)
    await world.run()
    expect(summary(await world.invoices())).toEqual(['a 2023-11-01: 20.00 + 3.00 + 0.00 = 23.00 paid'])
  })

  test('issues an invoice over nothing, which counts as paid without a payment', async () => {
    const world = await worldWithPlan()
    const price = { model: 'flat', amount: '0' } as const
    await world.plan({ key: 'free', charges: [{ key: 'base', name: 'Base', meter: null, price }] })
    await world.subscribe('a', { plan: 'free' })
    await world.run()
    expect(summary(await world.invoices())).toEqual(['a 2023-11-01: 0.00 = 0.00 paid'])
    expect(world.charged).toEqual([])
  })

  test('parks a subscription that cannot be billed with a reason, and bills the others', async () => {
    const world = await worldWithPlan()
    for (const name of ['a', 'b', 'c', 'd', 'e']) await world.subscribe(name, { endMs: JANUARY })
    world.use('b', 'context_tokens', TOO_MUCH, DECEMBER)
    world.use('d', 'context_tokens', TOO_MUCH, NOVEMBER)
    const runId = await world.run()
    expect(summary(await world.invoices()).map((line) => line.slice(0, 12))).toEqual([
      'a 2023-11-01',
      'a 2023-12-01',
      'b 2023-11-01',
      'c 2023-11-01',
      'c 2023-12-01',
      'e 2023-11-01',
      'e 2023-12-01',
    ])
    const report = await reportOf(world, runId)
    expect(report).toMatchObject({ state: 'completed', subscriptionsDue: 5, invoicesCreated: 7 })
    expect(report.parked.map(({ reason }) => reason)).toEqual([
      expect.stringContaining('too large to be stored'),
      expect.stringContaining('too large to be stored'),
    ])
    world.use('b', 'context_tokens', `-${TOO_MUCH}`, DECEMBER)
    await world.run()
    expect(await world.invoices()).toHaveLength(8)
  })

  test('stops when usage cannot be read, and never bills 0 for it', async () => {
    const world = await worldWithPlan()
    await world.subscribe('a')
    world.use('a', 'context_tokens', '1000000', NOVEMBER)
    const working = world.deps.usage
    const runId = await world.transact(world.tenantId, async (tx) => (await openRun(tx, { asOfMs: null }, world)).id)
    const work = () =>
      runBilling(world.deps, progressInPostgres(world.transact, world.tenantId, runId), world.tenantId, runId)
    world.deps.usage = { ...working, quantities: () => Promise.reject(new Error('the usage store is away')) }
    await expect(work()).rejects.toThrow('the usage store is away')
    world.deps.usage = { ...working, quantities: async () => new Map() }
    await expect(work()).rejects.toThrow('Usage was not answered for every subscription')
    expect(await world.invoices()).toEqual([])
    world.deps.usage = working
    await expect(work()).resolves.toBe('completed')
    expect(summary(await world.invoices())).toEqual(['a 2023-11-01: 20.00 + 3.00 + 0.00 = 23.00 paid'])
  })

  test('makes no invoice without its seal, and can be continued once it is there', async () => {
    const world = await worldWithPlan()
    await world.subscribe('a')
    const { sleep } = world.deps
    world.deps.sleep = async () => undefined
    await expect(world.run()).rejects.toThrow('The seal was not answered in time')
    expect(await world.invoices()).toEqual([])
    world.deps.sleep = sleep
    await world.run()
    expect(await world.invoices()).toHaveLength(1)
  })

  test('refuses an as_of in the future, whose usage would be missing for ever', async () => {
    const world = await worldWithPlan()
    await expect(world.run(world.clock.nowMs + 1)).rejects.toMatchObject({ code: 'invalid_request' })
  })

  test('tells of everything in the outbox and the history (EPIC-6), and of money in the log (HC-10)', async () => {
    const world = await worldWithPlan()
    await world.subscribe('a')
    await world.run()
    const page = { limit: 100, after: null }
    const events = await world.transact(world.tenantId, (tx) =>
      listBillingEvents(tx, { invoice: null, customer: null }, page),
    )
    expect(events.map(({ event }) => event)).toEqual([
      'plan.created',
      'customer.created',
      'subscription.created',
      'billing_run.opened',
      'invoice.finalised',
      'subscription.updated',
      'payment.created',
      'payment.succeeded',
      'invoice.paid',
      'billing_run.completed',
    ])
    const { rows } = await world.transact(world.tenantId, (tx) =>
      tx.query('SELECT e.event FROM outbox o JOIN billing_events e ON e.id = o.event_id ORDER BY e.id'),
    )
    expect(rows.map((row) => row.event)).toEqual([
      'subscription.created',
      'invoice.finalised',
      'subscription.updated',
      'invoice.paid',
    ])
    expect(world.announced.map(({ event, userId, usageType, amount }) => [event, userId, usageType, amount])).toEqual([
      ['invoice_finalised', 'a', 'context_tokens,generated_tokens', '20.00'],
      ['payment_succeeded', 'a', 'manual', '20.00'],
    ])
  })
})
