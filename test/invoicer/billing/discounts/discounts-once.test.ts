import { afterAll, beforeAll, expect, test } from 'vitest'
import { createCoupon } from '../../../../invoicer/agreements/coupons/create-coupon.ts'
import { giveDiscount } from '../../../../invoicer/agreements/coupons/give-discount.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import { type Progress, RUN_STEPS } from '../../../../invoicer/billing/run/steps.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { change, runAt, voidWorld } from '../../collection/voids/void-world.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { HOUR_MS, inGreece, type Shop } from '../tax/shop.ts'
import { invoicesOf, openCouponShop, post } from './shop-with-coupons.ts'

const FEBRUARY = Date.UTC(2024, 1, 1)
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const work = (shop: Shop, runId: string, wrap: (write: Progress) => Progress = (write) => write) =>
  runBilling(shop.deps, wrap(progressInPostgres(shop.transact, shop.tenantId, runId)), shop.tenantId, runId)

/** Four months of two subscriptions, of which the first two have a tenth off; what each was billed. */
async function open(): Promise<{ shop: Shop; runId: string }> {
  worlds += 1
  const shop = await openCouponShop(database, `once-${worlds}`)
  const endMs = Date.UTC(2024, 2, 1)
  shop.clock.nowMs = endMs + 24 * 3_600_000
  await post(shop, '/coupons', { key: 'tenth', name: 'A tenth', percent: '10', cycles: 2 })
  for (const name of ['a', 'b']) {
    await shop.subscribe(name, { plan: 'fees', startMs: NOVEMBER, endMs })
    await shop.call('PATCH', `/customers/${name}`, inGreece)
    const discount = { external_key: name, coupon: 'tenth', start: '2023-11-01T00:00:00Z' }
    await post(shop, `/subscriptions/${name}/discounts`, discount)
  }
  return {
    shop,
    runId: await shop.transact(shop.tenantId, async (tx) => (await openRun(tx, { asOfMs: null }, shop)).id),
  }
}
async function expectEachOnce(shop: Shop): Promise<void> {
  const billed = (await invoicesOf(shop)).map(({ customer, period_start, subtotal, discounts }) =>
    [customer.external_key, period_start.slice(0, 7), subtotal, ...discounts.map(({ cycle }) => cycle)].join(' '),
  )
  const expected = ['a', 'b'].flatMap((name) => [
    ...[`${name} 2023-11 135.01 1`, `${name} 2023-12 135.01 2`, `${name} 2024-01 150.01`, `${name} 2024-02 150.01`],
  ])
  expect(billed.sort()).toEqual(expected)
}

/** EPIC-3: a crash is an error at a place from where nothing more is done. */
test.each(RUN_STEPS)('a run that dies at %s is continued, and each cycle counts once', async (step) => {
  const { shop, runId } = await open()
  const dying = (write: Progress): Progress => {
    return async (begun) => {
      await write(begun)
      if (begun === step) throw new Error('killed')
    }
  }
  await expect(work(shop, runId, dying)).rejects.toThrow('killed')
  await work(shop, runId)
  await expectEachOnce(shop)
})

test('four runners of one run, and two runs at once, count each cycle once', async () => {
  const { shop, runId } = await open()
  await Promise.all([...[1, 2, 3, 4].map(() => work(shop, runId)), shop.run()])
  await expectEachOnce(shop)
})

/** A tenant whose customer `a` is billed from November on. `give` makes a tenth off of so many cycles, from a time on. */
async function openVoids() {
  const { world } = await voidWorld(database)
  await world.subscribe('a', { endMs: null })
  world.clock.nowMs = NOVEMBER
  const inTenant = <T>(act: (tx: TenantTransaction) => Promise<T>) => world.transact(world.tenantId, act)
  const off = { percent: '10', amount: null, currency: null, charges: null, redeemByMs: null, maxRedemptions: null }
  const give = async (cycles: number, startMs: number | null) => {
    await inTenant((tx) => createCoupon(tx, { key: 'tenth', name: 'A tenth', cycles, ...off }, world))
    const discount = { externalKey: 'd', coupon: 'tenth', to: { customer: 'a' }, startMs }
    await inTenant((tx) => giveDiscount(tx, discount, world))
  }
  const cycles = async () =>
    (await world.invoices()).map(({ periodStartMs, state, discounts }) => {
      return [new Date(periodStartMs).getUTCMonth() + 1, state, ...discounts.map(({ cycle }) => cycle)]
    })
  return { world, give, cycles }
}

/** Decision 0039: what is billed again stands where it stood. */
test('an invoice in the place of a void one takes no further cycle, though the one behind it has the last', async () => {
  const { world, give, cycles } = await openVoids()
  await give(2, null)
  await runAt(world, JANUARY + 2 * HOUR_MS)
  const [november] = await world.invoices()
  await change(world, november!.id, 'reissue')
  await runAt(world, FEBRUARY + 2 * HOUR_MS)
  expect(await cycles()).toEqual([
    [11, 'void', 1],
    [12, 'finalised', 2],
    [11, 'finalised', 1],
    [1, 'finalised'],
  ])
})

test('a coupon given for a time that is past is not on an earlier invoice that is issued again, once a later one took it', async () => {
  const { world, give, cycles } = await openVoids()
  await runAt(world, DECEMBER + 2 * HOUR_MS)
  await give(1, NOVEMBER)
  await runAt(world, JANUARY + 2 * HOUR_MS)
  const [november] = await world.invoices()
  await change(world, november!.id, 'reissue')
  await runAt(world, FEBRUARY + 2 * HOUR_MS)
  expect(await cycles()).toEqual([
    [11, 'void'],
    [12, 'finalised', 1],
    [11, 'finalised'],
    [1, 'finalised'],
  ])
})
