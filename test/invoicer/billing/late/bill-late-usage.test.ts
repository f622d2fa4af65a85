import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lineOrigins } from '../../../../invoicer/billing/explain/stored-invoice.postgres.ts'
import { createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { type Progress, RUN_STEPS } from '../../../../invoicer/billing/run/steps.ts'
import { readBalance } from '../../../../invoicer/collection/balance/read-balance.ts'
import { readCreditNotes } from '../../../../invoicer/collection/credit-notes/issue-credit-note.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, TOO_MUCH, type World } from '../../support/world.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const FEBRUARY = Date.UTC(2024, 1, 1)
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const tiers = [
  { up_to: '100', unit_amount: '1' },
  { up_to: null, unit_amount: '0.5' },
]

const tiered = { model: 'graduated', tiers }

/** `a` used 90 in November, at 1.00 up to 100 and 0.50 beyond; its first invoice is issued on 1 December. */
async function billed(price: object = tiered, endMs: number | null = null): Promise<World> {
  worlds += 1
  const world = await createWorld(database, `late-${worlds}`)
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price: price as never }] })
  await world.subscribe('a', { endMs })
  world.use('a', 'context_tokens', '90', NOVEMBER + DAY_MS)
  await runAt(world, DECEMBER + 2 * HOUR_MS)
  return world
}

const runAt = (world: World, atMs: number) => {
  world.clock.nowMs = atMs
  return world.run()
}
/** In November, and known some days later. */
const late = (world: World, quantity: string, knownAtMs = DECEMBER + 3 * DAY_MS) =>
  world.use('a', 'context_tokens', quantity, NOVEMBER + 2 * DAY_MS, knownAtMs)

const money = (minor: bigint) => formatMoney(minor, 'USD')
async function invoices(world: World) {
  return (await world.invoices()).map(({ lines, totalMinor, amountDueMinor, state }) => [
    ...lines.map((line) => `${line.description} ${money(line.amountMinor)}`),
    `${money(totalMinor)} ${money(amountDueMinor)} ${state}`,
  ])
}
const inTenant = <T>(world: World, work: Parameters<typeof world.transact<T>>[1]) =>
  world.transact(world.tenantId, work)
async function given(world: World) {
  const [first] = await world.invoices()
  const notes = await inTenant(world, (tx) => readCreditNotes(tx, first!.id))
  const { balances, entries } = await inTenant(world, (tx) => readBalance(tx, 'a', { after: null, limit: 99 }))
  return {
    notes: notes.map(({ number, totalMinor }) => `${number} ${money(totalMinor)}`),
    balance: balances.map(({ balanceMinor }) => money(balanceMinor)).join(),
    entries: entries.map(
      ({ kind, amountMinor, balanceMinor }) => `${kind} ${money(amountMinor)} ${money(balanceMinor)}`,
    ),
  }
}

describe('usage that arrives for an invoiced period (C2 of billing-cases.md)', () => {
  test('is billed as the difference by the next run, at that period’s price, on a line that names the period', async () => {
    const world = await billed()
    late(world, '30')
    world.use('a', 'context_tokens', '7', DECEMBER + DAY_MS)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    // 10 more at 1.00 and 20 at 0.50; December's own tiers start from zero.
    expect(await invoices(world)).toEqual([
      ['Use 90.00', '90.00 90.00 paid'],
      ['Use 7.00', 'Use (late usage, 2023-11-01 to 2023-11-30) 20.00', '27.00 27.00 paid'],
    ])
    const [, second] = await world.invoices()
    const line = second!.lines[1]!
    expect([line.chargeKey, line.meter, line.periodStartMs, line.periodEndMs]).toEqual([
      'use',
      'context_tokens',
      NOVEMBER,
      DECEMBER,
    ])
    expect(line.breakdown[0]).toMatchObject({
      type: 'adjustment',
      billed: '90.00',
      now: '110.00',
      amount: '20.00',
      quantity: '120',
    })
    await runAt(world, JANUARY + 3 * HOUR_MS)
    expect(await invoices(world)).toHaveLength(2)
  })

  test('waits for the next invoice, whatever comes until then, in whatever order', async () => {
    const world = await billed()
    for (const [place, quantity] of ['5', '10', '-5', '15', '5'].entries()) {
      late(world, quantity, DECEMBER + (3 + place) * DAY_MS)
      await runAt(world, DECEMBER + (3 + place) * DAY_MS + HOUR_MS)
    }
    expect(await invoices(world)).toHaveLength(1)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    const [, second] = await world.invoices()
    expect(second!.lines.map((line) => money(line.amountMinor))).toEqual([
      '0.00',
      '5.00',
      '7.50',
      '-2.50',
      '7.50',
      '2.50',
    ])
    expect(money(second!.totalMinor)).toBe('20.00')
    expect(await given(world)).toEqual({ notes: [], balance: '', entries: [] })
  })

  test('of an ended subscription makes an invoice of its own, by the next run', async () => {
    const world = await billed(undefined, DECEMBER)
    late(world, '30')
    await runAt(world, DECEMBER + 5 * DAY_MS)
    expect(await invoices(world)).toEqual([
      ['Use 90.00', '90.00 90.00 paid'],
      ['Use (late usage, 2023-11-01 to 2023-11-30) 20.00', '20.00 20.00 paid'],
    ])
    expect(world.charged.map(({ amountMinor }) => amountMinor)).toEqual([9_000n, 2_000n])
    late(world, '10', DECEMBER + 6 * DAY_MS)
    await runAt(world, DECEMBER + 7 * DAY_MS)
    expect((await invoices(world)).slice(2)).toEqual([
      ['Use (late usage, 2023-11-01 to 2023-11-30) 5.00', '5.00 5.00 paid'],
    ])
  })

  test('yields nothing under a minimum, and what goes beyond it', async () => {
    const world = await billed({ model: 'per_unit', unit_amount: '1', minimum_amount: '100' })
    late(world, '5')
    await runAt(world, DECEMBER + 4 * DAY_MS)
    late(world, '10', DECEMBER + 5 * DAY_MS)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    const [, second] = await world.invoices()
    expect(second!.lines.map((line) => `${line.description} ${money(line.amountMinor)}`)).toEqual([
      'Use 0.00',
      'Use (minimum) 100.00',
      'Use (late usage, 2023-11-01 to 2023-11-30) 5.00',
    ])
  })
})

test('late usage that cannot be billed parks its subscription with the reason, and the others are billed', async () => {
  const world = await billed()
  await world.subscribe('b', { endMs: null })
  await runAt(world, DECEMBER + 3 * HOUR_MS)
  world.use('b', 'context_tokens', TOO_MUCH, NOVEMBER, DECEMBER + DAY_MS)
  late(world, '30')
  const runId = await runAt(world, JANUARY + 2 * HOUR_MS)
  const { state, parked } = await inTenant(world, (tx) => readRun(tx, runId))
  expect(state).toBe('completed')
  expect(parked.map(({ reason }) => reason)).toEqual([
    expect.stringMatching(/^Its late usage cannot be billed: .*too large/),
  ])
  expect((await world.invoices()).map(({ totalMinor }) => totalMinor)).toEqual([9_000n, 0n, 2_000n])
})

describe('usage that turns out to be less', () => {
  test('makes a credit note on the invoice that billed it; paid, it becomes balance, which pays the next invoice', async () => {
    const world = await billed()
    late(world, '-40')
    await runAt(world, DECEMBER + 4 * DAY_MS)
    expect(await given(world)).toEqual({
      notes: ['CN-000001 40.00'],
      balance: '40.00',
      entries: ['credit_note 40.00 40.00'],
    })
    world.use('a', 'context_tokens', '15', DECEMBER + DAY_MS)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    world.use('a', 'context_tokens', '60', JANUARY + DAY_MS)
    await runAt(world, FEBRUARY + 2 * HOUR_MS)
    expect((await invoices(world)).slice(1)).toEqual([
      ['Use 15.00', '15.00 0.00 paid'],
      ['Use 60.00', '60.00 35.00 paid'],
    ])
    expect((await given(world)).entries).toEqual([
      'credit_note 40.00 40.00',
      'applied -15.00 25.00',
      'applied -25.00 0.00',
    ])
    expect(world.charged.map(({ amountMinor }) => amountMinor)).toEqual([9_000n, 3_500n])
  })

  test('gives back on the newest invoice first, each at most what it billed', async () => {
    const world = await billed()
    late(world, '30')
    await runAt(world, JANUARY + 2 * HOUR_MS)
    late(world, '-50', JANUARY + DAY_MS)
    await runAt(world, JANUARY + 2 * DAY_MS)
    const [first, second] = await world.invoices()
    const totals = async (id: string) =>
      (await inTenant(world, (tx) => readCreditNotes(tx, id))).map(({ totalMinor }) => money(totalMinor))
    // Of 110.00 stays 70.00: first the 20.00 that came late go back.
    expect([await totals(second!.id), await totals(first!.id)]).toEqual([['20.00'], ['20.00']])
  })
})

/** Two customers whose usage came late: one for more, one for less than was billed, the latter of an ended contract. */
async function withLateUsage(): Promise<World> {
  const world = await billed()
  await world.subscribe('b', { endMs: DECEMBER })
  await world.subscribe('c', { endMs: DECEMBER })
  for (const name of ['b', 'c']) world.use(name, 'context_tokens', '50', NOVEMBER + DAY_MS)
  await runAt(world, DECEMBER + 3 * HOUR_MS)
  late(world, '30')
  world.use('b', 'context_tokens', '-15', NOVEMBER + DAY_MS, DECEMBER + DAY_MS)
  world.use('c', 'context_tokens', '25', NOVEMBER + DAY_MS, DECEMBER + DAY_MS)
  world.clock.nowMs = JANUARY + 2 * HOUR_MS
  return world
}
const rowsOf = async (world: World, sql: string) =>
  (await inTenant(world, (tx) => tx.query<{ row: string }>(sql))).rows.map(({ row }) => row)
/** Whose subscription was brought to what. */
const adjusted = (world: World) =>
  rowsOf(
    world,
    `SELECT s.external_key || ' ' || a.amount_minor AS row
     FROM usage_adjustments a JOIN subscriptions s ON s.id = a.subscription_id ORDER BY row`,
  )
async function expectBilledOnce(world: World): Promise<void> {
  const rows = (sql: string) => rowsOf(world, sql)
  expect(await adjusted(world)).toEqual(['a 2000', 'b -1500', 'c 2500'])
  expect(
    await rows(
      `SELECT s.external_key || ' ' || i.amount_minor AS row FROM invoice_items n
       JOIN invoice_lines i ON i.invoice_id = n.invoice_id AND i.line_index = n.line_index
       JOIN subscriptions s ON s.id = n.subscription_id ORDER BY row`,
    ),
  ).toEqual(['a 2000', 'c 2500'])
  expect(await rows('SELECT total_minor AS row FROM credit_notes')).toEqual(['1500'])
  expect(await rows('SELECT last_number AS row FROM credit_note_numbers')).toEqual(['1'])
  expect(await rows('SELECT balance_minor AS row FROM customer_balances')).toEqual(['1500'])
  expect((await world.invoices()).map(({ totalMinor }) => totalMinor)).toEqual(
    // What c's contract still had to pay comes on an invoice of its own, before those of December.
    [9_000n, 5_000n, 5_000n, 2_500n, 2_000n],
  )
  expect(new Set(world.charged.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(5)
}

describe('late usage is billed once', () => {
  test('by runs at once, and by several runners of one', async () => {
    const world = await withLateUsage()
    await Promise.all([1, 2, 3].map(() => world.run()))
    await expectBilledOnce(world)
    const runId = await world.run()
    await runBilling(world.deps, async () => undefined, world.tenantId, runId)
    await expectBilledOnce(world)
  })

  test.each(RUN_STEPS)('by a run that dies as step %s begins, and is continued', async (step) => {
    const world = await withLateUsage()
    const { id } = await inTenant(world, (tx) => openRun(tx, { asOfMs: null }, world))
    const dying: Progress = async (begun) => {
      if (begun === step) throw new Error('killed')
    }
    await expect(runBilling(world.deps, dying, world.tenantId, id)).rejects.toThrow('killed')
    await runBilling(world.deps, async () => undefined, world.tenantId, id)
    await expectBilledOnce(world)
  })

  test('by a run that dies between two parts of its subjects, and is continued', async () => {
    const world = await withLateUsage()
    const { id } = await inTenant(world, (tx) => openRun(tx, { asOfMs: null }, world))
    let reads = 0
    const quantities: typeof world.deps.usage.quantities = (...all) => {
      reads += 1
      if (reads === 2) throw new Error('killed')
      return world.deps.usage.quantities(...all)
    }
    const deps = { ...world.deps, subjectsAtOnce: 1, usage: { ...world.deps.usage, quantities } }
    await expect(runBilling(deps, async () => undefined, world.tenantId, id)).rejects.toThrow('killed')
    expect(await adjusted(world)).toEqual(['a 2000'])
    await runBilling(deps, async () => undefined, world.tenantId, id)
    await expectBilledOnce(world)
  })

  test('though what one of them is brought to cannot be kept: it is left to a later run, and the others are billed', async () => {
    const world = await withLateUsage()
    // A balance to which nothing can be added.
    await inTenant(world, (tx) =>
      tx.query(
        `INSERT INTO customer_balances (tenant_id, customer_id, currency, balance_minor)
         SELECT app_tenant(), id, 'USD', 9223372036854775807 FROM customers WHERE external_key = 'b'`,
      ),
    )
    const parked = async () => (await inTenant(world, async (tx) => readRun(tx, await world.run()))).parked
    expect((await parked()).map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/^Its late usage cannot be billed: A balance of/),
    ])
    expect(await adjusted(world)).toEqual(['a 2000', 'c 2500'])
    // Nothing has changed since: it keeps no period of the subscription from being billed.
    world.clock.nowMs += HOUR_MS
    expect(await parked()).toEqual([])
    expect(await rowsOf(world, 'SELECT subject AS row FROM late_usage_left WHERE NOT is_billed')).toEqual(['b'])
    await inTenant(world, (tx) => tx.query('UPDATE customer_balances SET balance_minor = 0'))
    world.clock.nowMs += HOUR_MS
    await world.run()
    await expectBilledOnce(world)
    expect(await rowsOf(world, 'SELECT subject AS row FROM late_usage_left WHERE NOT is_billed')).toEqual([])
  })

  test('by a run that a later one overtook: it knows less, and takes nothing back', async () => {
    const world = await billed()
    late(world, '10', DECEMBER + 3 * HOUR_MS)
    world.clock.nowMs = DECEMBER + 4 * HOUR_MS
    const { id } = await inTenant(world, (tx) => openRun(tx, { asOfMs: null }, world))
    late(world, '30', DECEMBER + 5 * HOUR_MS)
    await runAt(world, DECEMBER + 6 * HOUR_MS)
    await runBilling(world.deps, async () => undefined, world.tenantId, id)
    const { rows } = await inTenant(world, (tx) => tx.query('SELECT amount_minor FROM usage_adjustments'))
    expect(rows).toEqual([{ amount_minor: '2500' }])
  })

  test('though the run that billed the period was overtaken by one that looked before', async () => {
    const world = await billed()
    await world.subscribe('b', { endMs: DECEMBER })
    world.use('b', 'context_tokens', '50', NOVEMBER)
    world.clock.nowMs = DECEMBER + 4 * HOUR_MS
    const { id } = await inTenant(world, (tx) => openRun(tx, { asOfMs: null }, world))
    world.use('b', 'context_tokens', '20', NOVEMBER, DECEMBER + 5 * HOUR_MS)
    // It bills nothing of November, but it looks: up to its own W.
    world.clock.nowMs = DECEMBER + 6 * HOUR_MS
    await world.run(DECEMBER)
    await runBilling(world.deps, async () => undefined, world.tenantId, id)
    await runAt(world, DECEMBER + 8 * HOUR_MS)
    expect((await world.invoices()).map(({ totalMinor }) => totalMinor)).toEqual([9_000n, 5_000n, 2_000n])
  })
})

/** What was billed of a charge used to be taken for less by what such an item cost. */
test('a one-time item with the key of a charge is no part of what was billed for it', async () => {
  worlds += 1
  const world = await createWorld(database, `late-${worlds}`)
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price: tiered as never }] })
  await world.subscribe('a', { endMs: null })
  const item = { externalKey: 'use', customer: null, subscription: 'a', description: 'Setup', amount: '5.00' }
  const none = { currency: null, quantity: null, unitAmount: null }
  await inTenant(world, (tx) => createItem(tx, { ...item, ...none }, world))
  world.use('a', 'context_tokens', '90', NOVEMBER + DAY_MS)
  await runAt(world, DECEMBER + 2 * HOUR_MS)
  late(world, '30')
  await runAt(world, JANUARY + 2 * HOUR_MS)
  expect(await adjusted(world)).toEqual(['a 2000'])
  const [first, second] = await world.invoices()
  const origins = await inTenant(world, (tx) => lineOrigins(tx, second!.id))
  expect(origins.map(({ billedMinor }) => billedMinor)).toEqual([0n, 9_000n])
  late(world, '-120', JANUARY + DAY_MS)
  await runAt(world, JANUARY + 2 * DAY_MS)
  const [note] = await inTenant(world, (tx) => readCreditNotes(tx, first!.id))
  expect(note).toMatchObject({ totalMinor: 9_000n, lines: [{ lineIndex: 0, netMinor: 9_000n }] })
  expect(note!.reason).toBe('Use: usage of 2023-11-01 to 2023-11-30 was corrected')
})

test('days on lines and notes are those of the customer', async () => {
  worlds += 1
  const world = await createWorld(database, `late-${worlds}`)
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price: tiered as never }] })
  const startMs = NOVEMBER - 2 * HOUR_MS
  await world.subscribe('a', { startMs, endMs: DECEMBER - 2 * HOUR_MS, timezone: 'Europe/Athens' })
  await runAt(world, DECEMBER + 2 * HOUR_MS)
  late(world, '3')
  await runAt(world, DECEMBER + 4 * DAY_MS)
  expect((await invoices(world)).at(-1)![0]).toBe('Use (late usage, 2023-11-01 to 2023-11-30) 3.00')
})
