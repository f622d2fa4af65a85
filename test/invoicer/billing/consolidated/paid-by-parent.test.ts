import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { changeCustomer } from '../../../../invoicer/agreements/customers/change-customer.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import type { Progress } from '../../../../invoicer/billing/run/steps.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { give, levels, open, toldNext } from '../../collection/credits/watched-credit.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { AFTER, HOUR_MS, inGreece, openShop } from '../tax/shop.ts'
import { invoicesOf, openGroup, place, shown } from './group.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

describe('HC-13: a parent pays for its children', () => {
  test('their invoices are issued to it, by its tax and from its credit, and say whose subscription they are of', async () => {
    const shop = await openGroup(database, 'parent-pays')
    const grant = { external_key: 'g', amount: '25.00' }
    expect((await shop.call('POST', '/customers/acme/credits', grant)).status).toBe(201)
    await shop.run()
    expect(shown(await invoicesOf(shop))).toEqual([
      'acme for north: 20.50 + 4.92 = 25.42',
      'acme for south: 3.33 + 0.80 = 4.13',
      'acme: 10.00 + 2.40 = 12.40',
    ])
    const credit = (await invoicesOf(shop)).map((one) => Number(one.credit))
    expect(credit.reduce((sum, one) => sum + one, 0)).toBe(25)
    expect(await invoicesOf(shop, '?customer=north')).toEqual([])
    expect((await invoicesOf(shop, '?customer=acme')).length).toBe(3)
    expect(shown(await invoicesOf(shop, '?subscription=north'))).toEqual(['acme for north: 20.50 + 4.92 = 25.42'])
    for (const { id } of await invoicesOf(shop)) {
      const verified = await shop.call('GET', `/invoices/${id}/verification`)
      expect(verified).toMatchObject({ status: 200, body: { equal: true, difference: null } })
    }
  })

  test('a change of payer holds from the next invoice on, and the preview follows it at once', async () => {
    const shop = await openShop(database, 'changed-payer')
    await shop.subscribe('acme', { endMs: null })
    await shop.subscribe('north', { endMs: null })
    await place(shop, 'acme', inGreece)
    await place(shop, 'north', { parent: 'acme', pays: 'parent' })
    shop.use('north', 'context_tokens', '1000', NOVEMBER)
    shop.use('north', 'context_tokens', '2000', DECEMBER)
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    await place(shop, 'north', { pays: 'self', billing_address: { country: 'DE' } })
    const preview = await shop.call('GET', '/subscriptions/north/preview')
    expect(preview).toMatchObject({ status: 200, body: { subtotal: '20.00', tax: '3.80' } })
    shop.clock.nowMs = AFTER
    await shop.run()
    expect(shown(await invoicesOf(shop)).filter((line) => !line.includes('0.00 + 0.00'))).toEqual([
      'acme for north: 10.00 + 2.40 = 12.40',
      'north: 20.00 + 3.80 = 23.80',
    ])
  })

  test('less usage of a child is given back to its parent, which paid for it', async () => {
    const shop = await openGroup(database, 'given-to-parent')
    await shop.run()
    shop.use('south', 'context_tokens', '-133', NOVEMBER, JANUARY + 3 * HOUR_MS)
    shop.clock.nowMs = JANUARY + 24 * HOUR_MS
    await shop.run()
    const [invoice] = await invoicesOf(shop, '?subscription=south')
    // 1.33 of 3.33 with 24 %: 0.80 × 1.33 ÷ 3.33 = 0.32.
    expect(invoice).toMatchObject({ customer: { external_key: 'acme' }, credited: '1.65' })
    const balanceOf = async (name: string) => (await shop.call('GET', `/customers/${name}/balance`)).body.balances
    expect(await balanceOf('acme')).toEqual([{ currency: 'USD', balance: '1.65' }])
    expect(await balanceOf('south')).toEqual([])
  })
})

test('credit of a parent is used by what its children spend, before anything is invoiced', async () => {
  const world = await open(database, 'children-spend', 'ann', 'bob', 'eve')
  await world.transact(world.tenantId, (tx) => changeCustomer(tx, 'bob', { parent: 'ann', pays: 'parent' }, world))
  await world.transact(world.tenantId, (tx) => changeCustomer(tx, 'eve', { parent: 'ann' }, world))
  await give(world, 'ann', '40.00')
  await give(world, 'bob', '40.00')
  await levels(world, 'ann', ['50%'])
  await levels(world, 'bob', ['50%'])
  world.use('bob', 'context_tokens', '2500', world.clock.nowMs)
  world.use('eve', 'context_tokens', '1000', world.clock.nowMs)
  expect(await toldNext(world)).toEqual(['ann 50%: 25.00 of 40.00, 15.00 left'])
})

test('credit counts as used while what a run billed waits to be gathered', async () => {
  const world = await open(database, 'waiting-parts', 'ann')
  await world.transact(world.tenantId, (tx) => changeCustomer(tx, 'ann', { consolidate: true }, world))
  await give(world, 'ann', '40.00')
  await levels(world, 'ann', ['50%'])
  world.use('ann', 'context_tokens', '2500', NOVEMBER + HOUR_MS)
  world.clock.nowMs = DECEMBER + 2 * HOUR_MS
  const run = await world.transact(world.tenantId, (tx) => openRun(tx, { asOfMs: null }, world))
  const dying: Progress = async (step) => {
    if (step === 'consolidate') throw new Error('killed')
  }
  await expect(runBilling(world.deps, dying, world.tenantId, run.id)).rejects.toThrow('killed')
  expect(await toldNext(world)).toEqual(['ann 50%: 25.00 of 40.00, 15.00 left'])
})

describe('who stands below whom', () => {
  test('is refused in a circle, beyond five levels, in another currency, below nobody, and without anybody to pay', async () => {
    const shop = await openShop(database, 'places')
    const customer = (name: string, of: object = {}) =>
      shop.call('POST', '/customers', { external_key: name, currency: 'USD', subjects: [], ...of })
    expect((await customer('c1')).status).toBe(201)
    for (const level of [2, 3, 4, 5]) {
      const made = await customer(`c${level}`, { parent: `c${level - 1}`, pays: 'parent' })
      expect(made).toMatchObject({ status: 201, body: { parent: `c${level - 1}`, pays: 'parent', consolidate: false } })
    }
    await customer('euro', { currency: 'EUR' })
    const change = async (name: string, of: object) => {
      const { status, body } = await shop.call('PATCH', `/customers/${name}`, of)
      return [status, JSON.stringify(body)]
    }
    expect(await change('c1', { parent: 'c5' })).toEqual([400, expect.stringContaining('The place of the customer')])
    expect((await change('c1', { parent: 'c1' }))[0]).toBe(400)
    expect((await customer('c6', { parent: 'c5' })).status).toBe(400)
    expect((await change('euro', { parent: 'c1' }))[0]).toBe(400)
    expect((await change('c1', { parent: 'nobody' }))[0]).toBe(400)
    expect((await change('c1', { pays: 'parent' }))[0]).toBe(400)
    const below = await shop.call('GET', '/customers?parent=c2')
    expect(below.body.customers).toMatchObject([{ external_key: 'c3', parent: 'c2' }])
    expect((await change('c3', { parent: null }))[0]).toBe(400)
    expect((await change('c3', { parent: null, pays: 'self' }))[0]).toBe(200)
    expect((await customer('c6', { parent: 'c5', pays: 'parent' })).status).toBe(201)
    expect((await change('c1', { parent: 'c6' }))[0]).toBe(400)
    expect((await change('c1', { parent: 'c5' }))[0]).toBe(200)
  })

  test('decides who pays in the end: the first above that pays for itself, also behind a change above', async () => {
    const shop = await openShop(database, 'in-the-end')
    for (const name of ['top', 'middle', 'leaf']) {
      await shop.subscribe(name)
      await place(shop, name, inGreece)
    }
    await place(shop, 'leaf', { parent: 'middle', pays: 'parent' })
    await place(shop, 'middle', { parent: 'top', pays: 'parent' })
    const payers = async () => {
      const { rows } = await shop.transact(shop.tenantId, (tx) =>
        tx.query<{ payers: string[] }>(
          `SELECT array_agg(c.external_key || '>' || coalesce(p.external_key, '-') ORDER BY c.external_key) AS payers
           FROM customers c LEFT JOIN customers p ON p.id = c.payer_id`,
        ),
      )
      return rows[0]?.payers
    }
    expect(await payers()).toEqual(['leaf>top', 'middle>top', 'top>-'])
    await place(shop, 'middle', { pays: 'self' })
    expect(await payers()).toEqual(['leaf>middle', 'middle>-', 'top>-'])
    await place(shop, 'middle', { pays: 'parent' })
    await place(shop, 'leaf', { pays: 'self' })
    expect(await payers()).toEqual(['leaf>-', 'middle>top', 'top>-'])
  })

  test('stays within a tenant: nobody has a parent in another one', async () => {
    const [one, two] = [await openShop(database, 'own-parents'), await openShop(database, 'foreign-parents')]
    await one.subscribe('acme')
    await two.subscribe('north')
    expect((await two.call('PATCH', '/customers/north', { parent: 'acme' })).status).toBe(400)
  })

  test('two changes at once leave no circle', async () => {
    const shop = await openShop(database, 'no-circle')
    for (const name of ['a', 'b']) await shop.subscribe(name)
    const change = (name: string, parent: string) =>
      shop.call('PATCH', `/customers/${name}`, { parent, pays: 'parent' })
    const answers = await Promise.all([change('a', 'b'), change('b', 'a')])
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 400])
  })
})
