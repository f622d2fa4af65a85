import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSubscription } from '../../../../invoicer/agreements/subscriptions/create-subscription.ts'
import { listOvertaken } from '../../../../invoicer/billing/invoices/issue.postgres.ts'
import { type CreateItem, createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { deleteItem, readItem } from '../../../../invoicer/billing/items/delete-item.ts'
import { readBalance } from '../../../../invoicer/collection/balance/read-balance.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createChangingWorld } from '../../agreements/subscriptions/changing-world.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, TOO_MUCH, type World } from '../../support/world.ts'

let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const fee = [{ key: 'fee', name: 'Fee', meter: null, price: { model: 'flat', amount: '9' } }] as const

/** `a` has four subscriptions, which fall into two chunks. */
async function open(): Promise<World> {
  worlds += 1
  const world = await createWorld(database, `items-${worlds}`)
  await world.plan({ charges: [...fee] })
  await world.subscribe('a', { endMs: JANUARY })
  for (const externalKey of ['b', 'c', 'd']) {
    const terms = { externalKey, customer: 'a', planKey: 'llm', startMs: NOVEMBER, endMs: JANUARY }
    await world.transact(world.tenantId, (tx) => createSubscription(tx, terms, world))
  }
  return world
}
const put = (world: World, externalKey: string, change: Partial<CreateItem> = {}) => {
  const none = { subscription: null, currency: null, amount: null, quantity: null, unitAmount: null }
  const input = { externalKey, customer: 'a', description: `Item ${externalKey}`, ...none, ...change }
  return world.transact(world.tenantId, (tx) => createItem(tx, input, world))
}
const linesOf = async (world: World) =>
  (await world.invoices()).map(({ lines, totalMinor }) => [
    ...lines.map((line) => `${line.description} ${formatMoney(line.amountMinor, 'USD')}`),
    formatMoney(totalMinor, 'USD'),
  ])

/** 0021 makes the unique keys of periods partial, which no question for a subscription's invoices says. */
test('the invoices of a subscription are found by an index of all of them', async () => {
  const { rows } = await database.pool.query<{ indexdef: string }>(
    "SELECT indexdef FROM pg_indexes WHERE tablename = 'invoices'",
  )
  expect(rows.map(({ indexdef }) => indexdef)).toContainEqual(
    expect.stringMatching(/\(tenant_id, subscription_id, id\)$/),
  )
})

describe('a one-time item', () => {
  test('stands on the next invoice, behind its other lines, once, whatever subscriptions its customer has', async () => {
    const world = await open()
    await put(world, 'setup', { quantity: '2.5', unitAmount: '0.333' })
    await put(world, 'gift', { subscription: 'd', customer: null, amount: '-1.00' })
    await Promise.all([world.run(), world.run()])
    const lines = await linesOf(world)
    expect(lines).toHaveLength(8)
    expect(lines.filter((one) => one.length > 2)).toEqual([
      ['Fee 9.00', 'Item setup 0.83', '9.83'],
      ['Fee 9.00', 'Item gift -1.00', '8.00'],
    ])
    const invoice = (await world.invoices()).find(({ totalMinor }) => totalMinor === 983n)!
    expect(invoice.lines[1]).toMatchObject({
      chargeKey: 'setup',
      meter: null,
      usage: null,
      periodStartMs: NOVEMBER,
      periodEndMs: DECEMBER,
      breakdown: [{ type: 'one_time', quantity: '2.5', unit_amount: '0.333', amount: '0.83' }],
    })
    const item = await world.transact(world.tenantId, (tx) => readItem(tx, 'setup'))
    expect(item.invoiceId).toBe(invoice.id)
    await expect(world.transact(world.tenantId, (tx) => deleteItem(tx, 'setup', world))).rejects.toMatchObject({
      code: 'illegal_state',
    })
  })

  test('of a customer whose contracts have ended has an invoice of its own, once', async () => {
    const world = await open()
    await world.run()
    await put(world, 'late', { amount: '3.00' })
    await put(world, 'named', { amount: '4.00', subscription: 'b' })
    await Promise.all([1, 2, 3].map(() => world.run()))
    const own = (await world.invoices()).filter(({ totalMinor }) => totalMinor !== 900n)
    const descriptions = own.flatMap(({ lines }) => lines.map(({ description }) => description))
    expect(descriptions.sort()).toEqual(['Item late', 'Item named'])
    expect(own.reduce((sum, { totalMinor }) => sum + totalMinor, 0n)).toBe(700n)
    expect(own.every(({ state }) => state === 'paid')).toBe(true)
  })

  test('goes with a subscription that can be rated: one that cannot keeps it from no other', async () => {
    worlds += 1
    const world = await createWorld(database, `items-${worlds}`)
    const price = { model: 'per_unit', unit_amount: '1' } as const
    await world.plan({ key: 'metered', charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price }] })
    await world.plan({ charges: [...fee] })
    await world.subscribe('a', { plan: 'metered' })
    const terms = { externalKey: 'b', customer: 'a', planKey: 'llm', startMs: NOVEMBER, endMs: DECEMBER }
    await world.transact(world.tenantId, (tx) => createSubscription(tx, terms, world))
    world.use('a', 'context_tokens', TOO_MUCH, NOVEMBER)
    await put(world, 'setup', { amount: '3.00' })
    await world.run()
    expect(await linesOf(world)).toEqual([['Fee 9.00', 'Item setup 3.00', '12.00']])
  })

  test('waits for a contract that goes on, though what another one is owed has an invoice of its own', async () => {
    const world = await open()
    await world.run()
    const terms = { externalKey: 'e', customer: 'a', planKey: 'llm', startMs: JANUARY, endMs: null }
    await world.transact(world.tenantId, (tx) => createSubscription(tx, terms, world))
    await put(world, 'named', { amount: '4.00', subscription: 'b' })
    await put(world, 'any', { amount: '3.00' })
    await world.run()
    expect((await linesOf(world)).filter(([first]) => first!.startsWith('Item'))).toEqual([['Item named 4.00', '4.00']])
    const invoices = await world.invoices()
    const own = invoices.filter(({ offCycle }) => offCycle)
    expect(own).toHaveLength(1)
    // It bills no period: who starts where it starts was overtaken by nobody.
    const { subscriptionId, periodStartMs } = own[0]!
    const overtaken = (fromMs: number) =>
      world.transact(world.tenantId, (tx) =>
        listOvertaken(tx, [
          { subscriptionId: subscriptionId!, fromMs, revision: 0, fromFeesMs: null, next: null, feesDueMs: null },
        ]),
      )
    expect(await overtaken(periodStartMs)).toEqual(new Set())
    expect(await overtaken(DECEMBER)).toEqual(new Set([subscriptionId]))
    world.clock.nowMs = Date.UTC(2024, 1, 2)
    await world.run()
    expect((await linesOf(world)).at(-1)).toEqual(['Fee 9.00', 'Item any 3.00', '12.00'])
  })

  test('of who cancelled while another plan was to come is invoiced by the plan it had at its end', async () => {
    worlds += 1
    const world = await createChangingWorld(database, `items-${worlds}`)
    await world.fee('small', '5.00')
    await world.fee('large', '20.00')
    world.clock.nowMs = NOVEMBER + 1
    await world.subscribe('a', { plan: 'large', endMs: null })
    await world.toPlan('a', 'small', 'period_end')
    await world.change('a', { cancel: 'period_end' })
    world.clock.nowMs = JANUARY
    await world.run()
    await put(world, 'late', { amount: '3.00' })
    await world.run()
    const quoted = (await world.invoices()).map(({ offCycle, planKey, totalMinor }) => [offCycle, planKey, totalMinor])
    expect(quoted).toEqual([
      [false, 'large', 2_000n],
      [true, 'large', 300n],
    ])
  })

  test('is taken once by its key, and can be taken back while it waits', async () => {
    const world = await open()
    const first = await put(world, 'setup', { amount: '5.00' })
    expect(await put(world, 'setup', { amount: '5.00' })).toEqual({ item: first.item, created: false })
    await expect(put(world, 'setup', { amount: '6.00' })).rejects.toMatchObject({ code: 'conflict' })
    for (const wrong of [
      { amount: '0.00' },
      { quantity: '9'.repeat(26), unitAmount: '9' },
      { amount: '1.00', quantity: '1' },
      { quantity: '1' },
      { amount: '1.00', currency: 'EUR' },
      { amount: '1.00', customer: null },
    ]) {
      await expect(put(world, 'wrong', wrong)).rejects.toMatchObject({ code: 'invalid_request' })
    }
    await world.transact(world.tenantId, (tx) => deleteItem(tx, 'setup', world))
    await world.run()
    expect((await linesOf(world)).filter((one) => one.length > 2)).toEqual([])
  })

  test('that makes a total negative gives the difference to the balance, which pays the next invoices', async () => {
    const world = await open()
    await put(world, 'gift', { subscription: 'a', amount: '-25.00' })
    await world.run()
    const invoices = await world.invoices()
    const negative = invoices.filter(({ totalMinor }) => totalMinor < 0n)
    expect(negative).toMatchObject([{ totalMinor: -1_600n, balanceMinor: -1_600n, amountDueMinor: 0n, state: 'paid' }])
    const { balances, entries } = await world.transact(world.tenantId, (tx) =>
      readBalance(tx, 'a', { after: null, limit: 99 }),
    )
    expect(balances).toMatchObject([{ balanceMinor: 0n }])
    expect(entries.map(({ kind, amountMinor }) => [kind, amountMinor])).toEqual([
      ['negative_invoice', -negative[0]!.totalMinor],
      ['applied', -900n],
      ['applied', -700n],
    ])
    const charged = world.charged.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
    expect(charged).toBe(8n * 900n - 2_500n)
  })
})
