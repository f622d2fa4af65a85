import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertSubjects } from '../../../../invoicer/agreements/customers/customers.postgres.ts'
import { changeInvoiceSettings } from '../../../../invoicer/agreements/invoice-settings/change-settings.ts'
import { isAgainWaiting } from '../../../../invoicer/billing/again/again.postgres.ts'
import { createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { RUN_STEPS, type RunStep } from '../../../../invoicer/billing/run/steps.ts'
import type { Transact } from '../../../../invoicer/transaction.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { billed, change, FEE, HOUR_MS, runAt, standing, USE, voidWorld } from '../../collection/voids/void-world.ts'
import { DECEMBER, JANUARY, NOVEMBER, TOO_MUCH, type World } from '../../support/world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** `a` is billed 20.00 for November; 7 tokens were used under a subject that was missing from its customer. */
async function wronglyBilled() {
  const { world, answers } = await voidWorld(database)
  await world.subscribe('a', { endMs: null })
  world.use('a-2', 'context_tokens', '7', NOVEMBER)
  return { world, answers, invoice: await billed(world) }
}

const mend = (world: World, customerId: string) =>
  world.transact(world.tenantId, (tx) => insertSubjects(tx, customerId, ['a-2']))

const living = async (world: World) => (await world.invoices()).filter(({ state }) => state !== 'void')

/** What the latest run has parked. */
const parkedNow = (world: World) =>
  world.transact(world.tenantId, async (tx) => {
    const { rows } = await tx.query<{ period_start: Date; is_due: boolean }>(
      `SELECT period_start, is_due FROM parked_subscriptions
       WHERE billing_run_id = (SELECT id FROM billing_runs ORDER BY id DESC LIMIT 1)`,
    )
    return rows.map(({ period_start, is_due }) => ({ start: period_start.getTime(), is_due }))
  })

describe('an invoice that is issued anew', () => {
  test('bills what is right by now under a new number, and names the void one', async () => {
    const { world, invoice } = await wronglyBilled()
    await mend(world, invoice.customer.id)
    expect(await change(world, invoice.id, 'reissue')).toMatchObject({ state: 'void', replacedById: null })
    await runAt(world, DECEMBER + 4 * HOUR_MS)
    const invoices = await world.invoices()
    expect(standing(invoices)).toEqual(['INV-000001 20.00, 20.00 due, void', 'INV-000002 27.00, 27.00 due, finalised'])
    const [old, fresh] = invoices
    expect(old).toMatchObject({ replacesId: null, replacedById: fresh!.id })
    expect(fresh).toMatchObject({ replacesId: old!.id, replacedById: null, offCycle: false })
    expect([fresh!.periodStartMs, fresh!.periodEndMs]).toEqual([NOVEMBER, DECEMBER])
    // The void one still says what it was made from.
    expect(old!.lines[1]!.usage).toMatchObject({ quantity: '0', events: 0 })
    expect(fresh!.lines[1]!.usage).toMatchObject({ quantity: '7', events: 1 })
  })

  test('is issued once: the runs behind it find nothing to do, and December goes on', async () => {
    const { world, invoice } = await wronglyBilled()
    await change(world, invoice.id, 'reissue')
    await runAt(world, DECEMBER + 4 * HOUR_MS)
    await runAt(world, DECEMBER + 5 * HOUR_MS)
    expect(await world.invoices()).toHaveLength(2)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    expect((await living(world)).map(({ periodStartMs }) => periodStartMs)).toEqual([NOVEMBER, DECEMBER])
  })

  test('late usage is the difference to the new one; what the void one said counts for nothing (C2)', async () => {
    const { world, invoice } = await wronglyBilled()
    await mend(world, invoice.customer.id)
    await change(world, invoice.id, 'reissue')
    // Late for a period that has no invoice at the moment: the new one has it.
    world.use('a', 'context_tokens', '2', NOVEMBER, world.clock.nowMs + 1)
    await runAt(world, DECEMBER + 4 * HOUR_MS)
    world.use('a', 'context_tokens', '1', NOVEMBER, world.clock.nowMs + 1)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    const invoices = await living(world)
    expect(standing(invoices)).toEqual([
      'INV-000002 29.00, 29.00 due, finalised',
      'INV-000003 21.00, 21.00 due, finalised',
    ])
    expect(invoices[1]!.lines.map(({ breakdown }) => breakdown[0])).toMatchObject([
      { type: 'flat' },
      { type: 'per_unit' },
      { type: 'adjustment', billed: '9.00', now: '10.00' },
    ])
  })

  test('a period that is only void stays unbilled, whatever comes late for it', async () => {
    const { world, invoice } = await wronglyBilled()
    await change(world, invoice.id, 'void')
    world.use('a', 'context_tokens', '2', NOVEMBER, world.clock.nowMs + 1)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    expect(standing(await living(world))).toEqual(['INV-000002 20.00, 20.00 due, finalised'])
    // And may be billed after all.
    await change(world, invoice.id, 'reissue')
    await runAt(world, JANUARY + 3 * HOUR_MS)
    expect(standing(await living(world))).toEqual([
      'INV-000002 20.00, 20.00 due, finalised',
      'INV-000003 22.00, 22.00 due, finalised',
    ])
  })

  test('can be voided and issued anew itself, and is refused a second time', async () => {
    const { world, invoice } = await wronglyBilled()
    await change(world, invoice.id, 'reissue')
    await expect(change(world, invoice.id, 'reissue')).rejects.toMatchObject({ code: 'illegal_state' })
    await runAt(world, DECEMBER + 4 * HOUR_MS)
    await expect(change(world, invoice.id, 'reissue')).rejects.toMatchObject({ code: 'illegal_state' })
    const [second] = await living(world)
    await change(world, second!.id, 'reissue')
    await runAt(world, DECEMBER + 5 * HOUR_MS)
    expect((await world.invoices()).map(({ number, state }) => `${number} ${state}`)).toEqual([
      'INV-000001 void',
      'INV-000002 void',
      'INV-000003 finalised',
    ])
  })

  test('takes the items that were on the void one, once, though two periods are billed again', async () => {
    const { world } = await voidWorld(database, [FEE])
    const subscription = await world.subscribe('a', { endMs: null })
    const item = { customer: null, subscription, currency: null, quantity: null, unitAmount: null }
    const set = { ...item, externalKey: 'set', description: 'Setup', amount: '3.00' }
    await world.transact(world.tenantId, (tx) => createItem(tx, set, world))
    await runAt(world, JANUARY + 2 * HOUR_MS)
    for (const { id } of await world.invoices()) await change(world, id, 'reissue')
    await runAt(world, JANUARY + 3 * HOUR_MS)
    expect(standing(await living(world))).toEqual([
      'INV-000003 23.00, 23.00 due, finalised',
      'INV-000004 20.00, 20.00 due, finalised',
    ])
  })

  test('of a suppressed invoice of nothing bills what the mended customer used', async () => {
    const { world } = await voidWorld(database, [USE])
    const settings = { zeroInvoices: 'suppress' as const, leastDue: {} }
    await world.transact(world.tenantId, (tx) => changeInvoiceSettings(tx, settings, world))
    await world.subscribe('a', { endMs: null })
    world.use('a-2', 'context_tokens', '7', NOVEMBER)
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    const [{ id, customer_id: customerId }] = await world.transact(
      world.tenantId,
      async (tx) => (await tx.query('SELECT id, customer_id FROM invoices')).rows,
    )
    await mend(world, customerId)
    await change(world, id, 'reissue')
    await runAt(world, DECEMBER + 4 * HOUR_MS)
    expect(standing(await living(world))).toEqual(['INV-000001 7.00, 7.00 due, finalised'])
  })

  test('opens a run of the schedule', async () => {
    const { world, invoice } = await wronglyBilled()
    const isWanted = () => world.transact(world.tenantId, (tx) => isAgainWaiting(tx, world.clock.nowMs - 24 * HOUR_MS))
    expect(await isWanted()).toBe(false)
    world.clock.nowMs += 1
    await change(world, invoice.id, 'reissue')
    expect(await isWanted()).toBe(true)
    await runAt(world, DECEMBER + 4 * HOUR_MS)
    expect(await isWanted()).toBe(false)
  })
})

describe('billing again, whatever happens', () => {
  test('two runs at once issue one invoice', async () => {
    const { world, invoice } = await wronglyBilled()
    await change(world, invoice.id, 'reissue')
    world.clock.nowMs = DECEMBER + 4 * HOUR_MS
    await Promise.all([world.run(), world.run(), world.run()])
    expect(await living(world)).toHaveLength(1)
    expect((await world.invoices()).map(({ number }) => number)).toEqual(['INV-000001', 'INV-000002'])
  })

  test.each(RUN_STEPS)('a run killed before %s issues it once when it is continued', async (step: RunStep) => {
    const { world, answers, invoice } = await wronglyBilled()
    await mend(world, invoice.customer.id)
    await change(world, invoice.id, 'reissue')
    world.clock.nowMs = DECEMBER + 4 * HOUR_MS
    answers.push({ outcome: 'succeeded', reference: 'x' })
    const { id } = await world.transact(world.tenantId, (tx) => openRun(tx, { asOfMs: null }, world))
    const dying = async (reached: RunStep) => {
      if (reached === step) throw new Error('killed')
    }
    const first = await runBilling(world.deps, dying, world.tenantId, id).catch((error: Error) => error.message)
    // Nothing is due beside it, so that nothing else is issued.
    expect(first).toBe(step === 'issue' ? 'completed' : 'killed')
    await runBilling(world.deps, async () => undefined, world.tenantId, id)
    expect(standing(await living(world))).toEqual(['INV-000002 27.00, 27.00 due, paid'])
  })

  test('a run that dies before each of its statements in turn issues it once, whole', async () => {
    const { world, invoice } = await wronglyBilled()
    await mend(world, invoice.customer.id)
    await change(world, invoice.id, 'reissue')
    world.clock.nowMs = DECEMBER + 4 * HOUR_MS
    const { id } = await world.transact(world.tenantId, (tx) => openRun(tx, { asOfMs: null }, world))
    let statements = 0
    let dieBefore = 0
    const diedBefore: string[] = []
    const transact: Transact = (tenantId, work) =>
      world.transact(tenantId, (tx) => {
        const query = (...args: Parameters<TenantTransaction['query']>) => {
          statements += 1
          if (statements > dieBefore) {
            diedBefore.push(String(args[0]))
            throw new Error('killed')
          }
          return tx.query(...args)
        }
        return work({ query } as TenantTransaction)
      })
    const goOn = () => {
      statements = 0
      return runBilling({ ...world.deps, transact }, async () => undefined, world.tenantId, id)
    }
    let outcome = await goOn().catch((error: Error) => error.message)
    while (outcome === 'killed') {
      dieBefore += 1
      outcome = await goOn().catch((error: Error) => error.message)
      const issued = await living(world)
      expect(standing(issued)).toEqual(issued.length === 0 ? [] : ['INV-000002 27.00, 27.00 due, finalised'])
    }
    expect(outcome).toBe('completed')
    for (const effect of ['UPDATE periods_to_bill_again', 'INSERT INTO invoice_lines', 'INSERT INTO invoices']) {
      expect(diedBefore.some((text) => text.includes(effect))).toBe(true)
    }
    expect(await living(world)).toHaveLength(1)
  })

  test('one that cannot be rated is parked in each run, and keeps no later period from being billed', async () => {
    const { world, invoice } = await wronglyBilled()
    await change(world, invoice.id, 'reissue')
    world.use('a', 'context_tokens', TOO_MUCH, NOVEMBER, world.clock.nowMs)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    expect((await living(world)).map(({ periodStartMs }) => periodStartMs)).toEqual([DECEMBER])
    expect(await parkedNow(world)).toEqual([{ start: NOVEMBER, is_due: false }])
    // Where a period that is due cannot be billed either, that is what is parked.
    world.use('a', 'context_tokens', TOO_MUCH, JANUARY)
    await runAt(world, Date.UTC(2024, 1, 1, 2))
    expect(await living(world)).toHaveLength(1)
    expect(await parkedNow(world)).toEqual([{ start: JANUARY, is_due: true }])
  })

  test('a run as of before the period, or that knows less than who asked, leaves it to the next one', async () => {
    const { world, invoice } = await wronglyBilled()
    const { id: early } = await world.transact(world.tenantId, (tx) => openRun(tx, { asOfMs: null }, world))
    world.clock.nowMs += 1
    await change(world, invoice.id, 'reissue')
    await runBilling(world.deps, async () => undefined, world.tenantId, early)
    expect(await living(world)).toEqual([])
    await world.run(NOVEMBER)
    expect(await living(world)).toEqual([])
    await world.run()
    expect(await living(world)).toHaveLength(1)
  })
})
