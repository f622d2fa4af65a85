import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createCoupon } from '../../../../invoicer/agreements/coupons/create-coupon.ts'
import { giveDiscount } from '../../../../invoicer/agreements/coupons/give-discount.ts'
import { changeCustomer } from '../../../../invoicer/agreements/customers/change-customer.ts'
import { createLegalEntity } from '../../../../invoicer/agreements/entities/create-legal-entity.ts'
import { changeInvoiceTexts } from '../../../../invoicer/agreements/invoice-settings/change-settings.ts'
import { NO_TEXTS } from '../../../../invoicer/agreements/invoice-settings/texts.ts'
import { collectPayments } from '../../../../invoicer/collection/payments/collect-payments.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { billed, change, FEE, HOUR_MS, runAt, standing, voidWorld } from '../../collection/voids/void-world.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { createFeesWorld, type FeesWorld } from '../fees/fees-world.ts'

const FEBRUARY = Date.UTC(2024, 1, 1)
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** 20.00 a month in advance; nobody pays. */
async function inAdvance(): Promise<FeesWorld> {
  worlds += 1
  const world = await createFeesWorld(database, `again-${worlds}`)
  const gateway = { name: 'manual' as const, charge: async () => ({ outcome: 'declined' as const, reason: 'none' }) }
  const collecting = { ...world.deps, gateway, stopping: () => false }
  world.deps.collect = (tenantId, runId, progress) => collectPayments(collecting, progress, tenantId, runId)
  await world.ahead('gold', '20')
  await world.subscribe('a', { plan: 'gold', endMs: null })
  return world
}
const living = async (world: FeesWorld) => (await world.invoices()).filter(({ state }) => state !== 'void')
const feesOf = async (world: FeesWorld) => {
  const lines = (await living(world)).flatMap((invoice) => invoice.lines)
  const byMonth = new Map<string, bigint>()
  for (const { periodStartMs, amountMinor } of lines) {
    const month = new Date(periodStartMs).toISOString().slice(0, 7)
    byMonth.set(month, (byMonth.get(month) ?? 0n) + amountMinor)
  }
  return [...byMonth].sort().map(([month, minor]) => `${month} ${minor}`)
}

describe('fees in advance, on an invoice that is voided', () => {
  test('of the first period are billed with the end of that, once', async () => {
    const world = await inAdvance()
    await world.runAt(NOVEMBER)
    const [first] = await world.invoices()
    expect(first).toMatchObject({ offCycle: true, totalMinor: 2_000n })
    await expect(change(world, first!.id, 'reissue')).rejects.toThrow('void it')
    await change(world, first!.id, 'void')
    await world.runAt(DECEMBER + 2 * HOUR_MS)
    expect(await feesOf(world)).toEqual(['2023-11 2000', '2023-12 2000'])
    expect(await world.wrong()).toEqual([])
  })

  test('come again with the invoice in its place, once, also where the next one is there already', async () => {
    for (const before of [DECEMBER + 2 * HOUR_MS, JANUARY + 2 * HOUR_MS]) {
      const world = await inAdvance()
      await world.runAt(NOVEMBER)
      await world.runAt(DECEMBER + 2 * HOUR_MS)
      if (before > DECEMBER + 2 * HOUR_MS) await world.runAt(before)
      const november = (await world.invoices()).find(
        ({ offCycle, periodStartMs }) => !offCycle && periodStartMs === NOVEMBER,
      )
      await change(world, november!.id, 'reissue')
      await world.runAt(before + HOUR_MS)
      await world.runAt(FEBRUARY + 2 * HOUR_MS)
      expect(await feesOf(world)).toEqual(['2023-11 2000', '2023-12 2000', '2024-01 2000', '2024-02 2000'])
      expect(await world.wrong()).toEqual([])
    }
  })
})

test('a discount of two cycles takes no third one where an invoice is issued anew', async () => {
  const { world } = await voidWorld(database, [FEE])
  await world.subscribe('a', { endMs: null })
  const coupon = { key: 'half', name: 'Half', percent: '50', amount: null, currency: null, charges: null, cycles: 2 }
  await world.transact(world.tenantId, async (tx) => {
    await createCoupon(tx, { ...coupon, redeemByMs: null, maxRedemptions: null }, world)
    const to = { subscription: 'a' }
    await giveDiscount(
      tx,
      { externalKey: 'd', coupon: 'half', to, startMs: NOVEMBER },
      { ...world, now: () => NOVEMBER },
    )
  })
  const { id } = await billed(world)
  await change(world, id, 'reissue')
  await runAt(world, DECEMBER + 4 * HOUR_MS)
  await runAt(world, JANUARY + 2 * HOUR_MS)
  await runAt(world, FEBRUARY + 2 * HOUR_MS)
  expect(standing(await world.invoices())).toEqual([
    'INV-000001 10.00, 10.00 due, void',
    'INV-000002 10.00, 10.00 due, finalised',
    'INV-000003 10.00, 10.00 due, finalised',
    'INV-000004 20.00, 20.00 due, finalised',
  ])
})

test('an invoice to the wrong address is issued anew with the tax of the right one, in the series of its issuer', async () => {
  const { world } = await voidWorld(database, [FEE])
  await world.subscribe('a', { endMs: null })
  const branding = { name: 'H', addressLines: ['Athens'], logoUrl: null, primaryColour: '#0b5fff', accentColour: null }
  const address = { line1: null, line2: null, city: null, region: null, postalCode: null }
  await world.transact(world.tenantId, async (tx) => {
    const taxes = { enabled: true, engine: 'embedded', rounding: 'per_line', inclusive: false } as const
    const registrations = [{ country: 'GR', number: 'EL123456789' }]
    const seller = { key: 'hellas', name: 'H', country: 'GR', address: null, numberPrefix: 'HELLAS', registrations }
    const tax = { ...taxes, euConsumers: 'destination' } as const
    await createLegalEntity(tx, { ...seller, tax, defaultCurrency: null }, world)
    await changeInvoiceTexts(tx, { kind: 'legal_entity', key: 'hellas' }, { ...NO_TEXTS, branding }, world)
    await changeCustomer(tx, 'a', { kind: 'consumer', billingAddress: { ...address, country: 'DE' } }, world)
  })
  const { id } = await billed(world)
  await world.transact(world.tenantId, (tx) => changeCustomer(tx, 'a', { billingAddress: { country: 'GR' } }, world))
  await change(world, id, 'reissue')
  await runAt(world, DECEMBER + 4 * HOUR_MS)
  expect((await world.invoices()).map(({ number, taxMinor, state }) => `${number} ${taxMinor} ${state}`)).toEqual([
    'HELLAS-000001 380 void',
    'HELLAS-000002 480 finalised',
  ])
  // Each looks as its issuer does (SUB-2).
  for (const { texts } of await world.invoices()) expect(texts).toEqual({ ...NO_TEXTS, branding })
})
