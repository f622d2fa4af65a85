import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLegalEntity } from '../../../../invoicer/agreements/entities/create-legal-entity.ts'
import { changeInvoiceSettings } from '../../../../invoicer/agreements/invoice-settings/change-settings.ts'
import type { InvoiceSettings } from '../../../../invoicer/agreements/invoice-settings/settings.ts'
import type { Invoice } from '../../../../invoicer/billing/invoices/invoice.ts'
import { createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { readBalance } from '../../../../invoicer/collection/balance/read-balance.ts'
import { issueCreditNote } from '../../../../invoicer/collection/credit-notes/issue-credit-note.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, summary, type World } from '../../support/world.ts'
import { balanceOf, change, HOUR_MS, runAt, USE, voidWorld } from '../voids/void-world.ts'

const FEBRUARY = Date.UTC(2024, 1, 1)
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const settings = (world: World, change: Partial<InvoiceSettings>) =>
  world.transact(world.tenantId, (tx) =>
    changeInvoiceSettings(tx, { zeroInvoices: 'issue', leastDue: { USD: '5.00' }, ...change }, world),
  )

/** 2.00, 1.00 and 4.00 for November, December and January; less than 5.00 is not worth a payment. */
async function smallInvoices(): Promise<World> {
  worlds += 1
  const world = await createWorld(database, `carried-${worlds}`)
  await settings(world, {})
  await world.plan({ charges: [USE], fees: 'in_arrears' })
  await world.subscribe('a', { endMs: null })
  for (const [at, quantity] of [
    [NOVEMBER, '2'],
    [DECEMBER, '1'],
    [JANUARY, '4'],
  ] as const) {
    world.use('a', 'context_tokens', quantity, at)
  }
  return world
}

const carrying = (invoices: readonly Invoice[]) =>
  invoices.map(({ totalMinor, carriedInMinor, carriedOutMinor, amountDueMinor, state, currency }) => {
    const money = (minor: bigint) => formatMoney(minor, currency)
    return `${money(totalMinor)} + ${money(carriedInMinor)} − ${money(carriedOutMinor)} = ${money(amountDueMinor)} ${state}`
  })
const waitingFor = async (world: World) => {
  const page = { after: null, limit: 9 }
  const { carried } = await world.transact(world.tenantId, (tx) => readBalance(tx, 'a', page))
  return carried.map(({ amountMinor, currency }) => formatMoney(amountMinor, currency))
}

describe('a total below what is worth a payment (billing-rules "Invoices")', () => {
  test('is carried forward over three invoices, and charged once', async () => {
    const world = await smallInvoices()
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    expect(await waitingFor(world)).toEqual(['2.00'])
    await runAt(world, JANUARY + 2 * HOUR_MS)
    expect(await waitingFor(world)).toEqual(['3.00'])
    expect(world.charged).toEqual([])
    await runAt(world, FEBRUARY + 2 * HOUR_MS)
    expect(await waitingFor(world)).toEqual([])
    expect(carrying(await world.invoices())).toEqual([
      '2.00 + 0.00 − 2.00 = 0.00 paid',
      '1.00 + 2.00 − 3.00 = 0.00 paid',
      '4.00 + 3.00 − 0.00 = 7.00 paid',
    ])
    expect(world.charged.map(({ amountMinor }) => amountMinor)).toEqual([700n])
  })

  test('within one run as over several, and by two runs at once', async () => {
    const world = await smallInvoices()
    world.clock.nowMs = FEBRUARY + 2 * HOUR_MS
    await Promise.all([world.run(), world.run()])
    expect(carrying(await world.invoices()).at(-1)).toBe('4.00 + 3.00 − 0.00 = 7.00 paid')
    expect(world.charged.map(({ amountMinor }) => amountMinor)).toEqual([700n])
  })

  test('is had by one invoice, however many are issued for the customer at the same time', async () => {
    const { world } = await voidWorld(database, [USE])
    await settings(world, {})
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      await world.subscribe(name, { endMs: null })
      world.use(name, 'context_tokens', name === 'a' ? '2' : '9', NOVEMBER)
    }
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    const [own, ...others] = (await world.invoices()).sort((x, y) => Number(x.totalMinor - y.totalMinor))
    const { customer, subscriptionId } = own!
    let there = 0
    let open = () => {}
    const allAreThere = new Promise<void>((resolve) => {
      open = resolve
    })
    const had = await Promise.all(
      others.map(({ id }) =>
        world.transact(world.tenantId, async (tx) => {
          there += 1
          if (there === others.length) open()
          await allAreThere
          const of = { id, customerId: customer.id, subscriptionId, currency: 'USD', totalMinor: 900n, lines: [] }
          const applied = await world.deps.applyBalance(tx, [of], new Map(), new Map(), world.clock.nowMs)
          return applied.get(id)?.carriedInMinor ?? 0n
        }),
      ),
    )
    expect(had.map(Number).sort((x, y) => x - y)).toEqual([0, 0, 0, 200])
    expect(await waitingFor(world)).toEqual([])
  })

  test('waits again where the invoice that had it is void, and is had by the one in its place', async () => {
    const { world } = await voidWorld(database, [USE])
    await settings(world, {})
    await world.subscribe('a', { endMs: null })
    world.use('a', 'context_tokens', '2', NOVEMBER)
    world.use('a', 'context_tokens', '6', DECEMBER)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    const [november, december] = await world.invoices()
    await expect(change(world, november!.id, 'void')).rejects.toThrow('carried forward')
    await change(world, december!.id, 'reissue')
    expect(await waitingFor(world)).toEqual(['2.00'])
    await runAt(world, JANUARY + 3 * HOUR_MS)
    expect(carrying(await world.invoices())).toEqual([
      '2.00 + 0.00 − 2.00 = 0.00 paid',
      '6.00 + 2.00 − 0.00 = 8.00 void',
      '6.00 + 2.00 − 0.00 = 8.00 finalised',
    ])
  })

  test('a credit note on what was carried forward becomes balance, which pays where it is due', async () => {
    const world = await smallInvoices()
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    const [{ id }] = (await world.invoices()) as [Invoice]
    const note = { invoiceId: id, idempotencyKey: 'n', reason: 'Sorry', amount: null, lines: null }
    await world.transact(world.tenantId, (tx) => issueCreditNote(tx, note, world))
    expect(await balanceOf(world, 'a')).toBe('2.00')
    await runAt(world, FEBRUARY + 2 * HOUR_MS)
    expect(await balanceOf(world, 'a')).toBe('0.00')
    expect(world.charged.map(({ amountMinor }) => amountMinor)).toEqual([500n])
  })

  test('an invoice of nothing that only passes it on is not voided: there is nothing on it to give back', async () => {
    const { world } = await voidWorld(database, [USE])
    await settings(world, {})
    await world.subscribe('a', { endMs: null })
    world.use('a', 'context_tokens', '2', NOVEMBER)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    const [, december] = await world.invoices()
    expect(carrying([december!])).toEqual(['0.00 + 2.00 − 2.00 = 0.00 paid'])
    await expect(change(world, december!.id, 'void')).rejects.toThrow('by credit notes on them')
  })

  test('is owed to whom it was billed by: no invoice of another legal entity has it', async () => {
    const world = await smallInvoices()
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    const tax = { enabled: false, engine: 'embedded', rounding: 'per_line', inclusive: false } as const
    const seller = { key: 'hellas', name: 'H', country: 'GR', address: null, numberPrefix: 'HELLAS', registrations: [] }
    const entity = { ...seller, tax: { ...tax, euConsumers: 'destination' as const }, defaultCurrency: null }
    await world.transact(world.tenantId, (tx) => createLegalEntity(tx, entity, world))
    await runAt(world, FEBRUARY + 2 * HOUR_MS)
    expect((await world.invoices()).map(({ legalEntity }) => legalEntity)).toEqual([null, 'hellas', 'hellas'])
    expect(carrying(await world.invoices())).toEqual([
      '2.00 + 0.00 − 2.00 = 0.00 paid',
      '1.00 + 0.00 − 1.00 = 0.00 paid',
      '4.00 + 1.00 − 0.00 = 5.00 paid',
    ])
    expect(await waitingFor(world)).toEqual(['2.00'])
  })

  test('without settings every amount is due', async () => {
    const world = await smallInvoices()
    await settings(world, { leastDue: {} })
    await runAt(world, FEBRUARY + 2 * HOUR_MS)
    expect(world.charged.map(({ amountMinor }) => amountMinor)).toEqual([200n, 100n, 400n])
  })

  test('settings that name no currency, or no amount above 0 in it, are refused', async () => {
    const world = await smallInvoices()
    const wrong: Record<string, string>[] = [{ XXX: '1.00' }, { USD: '0.00' }, { JPY: '0.5' }]
    for (const leastDue of wrong) {
      await expect(settings(world, { leastDue })).rejects.toMatchObject({ code: 'invalid_request' })
    }
  })
})

describe('an invoice of nothing, where these are suppressed', () => {
  test('takes no number and is not shown; its period is billed, and late usage is the difference to 0', async () => {
    worlds += 1
    const world = await createWorld(database, `carried-${worlds}`)
    await settings(world, { zeroInvoices: 'suppress', leastDue: {} })
    await world.plan({ charges: [USE], fees: 'in_arrears' })
    await world.subscribe('a', { endMs: null })
    await world.subscribe('b', { endMs: null })
    world.use('b', 'context_tokens', '1', NOVEMBER)
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    await runAt(world, DECEMBER + 3 * HOUR_MS)
    expect(summary(await world.invoices())).toEqual(['b 2023-11-01: 1.00 = 1.00 paid'])
    expect(world.announced.filter(({ event }) => event === 'invoice_finalised')).toHaveLength(1)
    world.use('a', 'context_tokens', '3', NOVEMBER, world.clock.nowMs + 1)
    world.use('a', 'context_tokens', '2', DECEMBER, world.clock.nowMs + 1)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    const invoices = await world.invoices()
    expect(summary(invoices)).toEqual(['b 2023-11-01: 1.00 = 1.00 paid', 'a 2023-12-01: 2.00 + 3.00 = 5.00 paid'])
    expect(invoices.map(({ number }) => number)).toEqual(['INV-000001', 'INV-000002'])
    expect(invoices[1]!.lines[1]!.breakdown[0]).toMatchObject({ type: 'adjustment', billed: '0.00', now: '3.00' })
  })

  test('lines that make up for each other are shown: nothing is not the same as a sum of 0', async () => {
    worlds += 1
    const world = await createWorld(database, `carried-${worlds}`)
    await settings(world, { zeroInvoices: 'suppress', leastDue: {} })
    await world.plan({ charges: [USE], fees: 'in_arrears' })
    await world.subscribe('a', { endMs: null })
    world.use('a', 'context_tokens', '3', NOVEMBER)
    const item = { customer: 'a', subscription: null, currency: null, quantity: null, unitAmount: null }
    const off = { ...item, externalKey: 'off', description: 'Off', amount: '-3.00' }
    await world.transact(world.tenantId, (tx) => createItem(tx, off, world))
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    expect(summary(await world.invoices())).toEqual(['a 2023-11-01: 3.00 + -3.00 = 0.00 paid'])
  })
})
