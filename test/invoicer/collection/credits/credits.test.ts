import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { drawCredit } from '../../../../invoicer/collection/credits/draw-credit.ts'
import { expireCredit } from '../../../../invoicer/collection/credits/expire-credit.ts'
import { type GrantCredit, grantCredit } from '../../../../invoicer/collection/credits/grant-credit.ts'
import { readCredit, readCreditUses } from '../../../../invoicer/collection/credits/read-credit.ts'
import { listBillingEvents } from '../../../../invoicer/outbox/history.postgres.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, type World } from '../../support/world.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const PAGE = { after: null, limit: 100 }
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** A customer `a` who owes 17.72 for November and 17.69 for December: C1 of the worked cases, tax included. */
async function owing(): Promise<World> {
  worlds += 1
  const world = await createWorld(database, `credits-${worlds}`)
  const price = { model: 'per_unit', unit_amount: '0.01' } as const
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price }] })
  await world.subscribe('a', { endMs: JANUARY })
  world.use('a', 'context_tokens', '1772', NOVEMBER)
  world.use('a', 'context_tokens', '1769', DECEMBER)
  return world
}

const give = (world: World, externalKey: string, change: Partial<GrantCredit> = {}) =>
  world.transact(world.tenantId, (tx) =>
    grantCredit(
      tx,
      { externalKey, customer: 'a', name: null, amount: '39.00', priority: 0, expiresAtMs: null, ...change },
      world,
    ),
  )
const expire = (world: World) => world.transact(world.tenantId, (tx) => expireCredit(tx, world))

/** Balance, and what is left of each grant; of every grant amount = remaining + drawn + expired. */
async function left(world: World) {
  return world.transact(world.tenantId, async (tx) => {
    const { balanceMinor, grants } = await readCredit(tx, 'a', PAGE, world.clock.nowMs)
    const { uses } = await readCreditUses(tx, 'a', PAGE)
    for (const { id, amountMinor, remainingMinor } of grants) {
      const used = uses.filter(({ grantId }) => grantId === id).reduce((sum, use) => sum + use.amountMinor, 0n)
      expect(remainingMinor + used).toBe(amountMinor)
    }
    const of = Object.fromEntries(grants.map((one) => [one.externalKey, formatMoney(one.remainingMinor, 'USD')]))
    return { balance: formatMoney(balanceMinor, 'USD'), ...of }
  })
}

const paid = async (world: World) =>
  (await world.invoices()).map(({ totalMinor, creditMinor, amountDueMinor, state }) => {
    return `${[totalMinor, creditMinor, amountDueMinor].map((minor) => formatMoney(minor, 'USD')).join(' ')} ${state}`
  })

describe('prepaid credit pays invoices as they are issued', () => {
  test('C1: of 39.00 an invoice of 17.72 leaves 21.28, and one of 17.69 then 3.59', async () => {
    const world = await owing()
    await give(world, 'wallet')
    await world.run(DECEMBER + 2 * HOUR_MS)
    expect(await left(world)).toEqual({ balance: '21.28', wallet: '21.28' })
    await world.run(JANUARY + 2 * HOUR_MS)
    expect(await left(world)).toEqual({ balance: '3.59', wallet: '3.59' })
    expect(await paid(world)).toEqual(['17.72 17.72 0.00 paid', '17.69 17.69 0.00 paid'])
    // Nothing was owed, so no gateway was asked.
    expect(world.charged).toEqual([])
    const told = await world.transact(world.tenantId, (tx) =>
      listBillingEvents(tx, { invoice: null, customer: null }, PAGE),
    )
    const dataOf = (name: string) => told.filter(({ event }) => event === name).map(({ data }) => data)
    expect(dataOf('invoice.finalised')).toMatchObject([
      { total: '17.72', credit: '17.72', amount_due: '0.00' },
      { total: '17.69', credit: '17.69', amount_due: '0.00' },
    ])
    expect(dataOf('invoice.paid')).toMatchObject([
      { total: '17.72', credit: '17.72', amount_paid: '0.00' },
      { total: '17.69', credit: '17.69', amount_paid: '0.00' },
    ])
    expect(dataOf('credit.drawn')).toMatchObject([{ amount: '17.72' }, { amount: '17.69' }])
  })

  test('two invoices of one transaction share it, and what it does not cover is charged', async () => {
    const world = await owing()
    await give(world, 'wallet', { amount: '20.00' })
    await world.run()
    expect(await paid(world)).toEqual(['17.72 17.72 0.00 paid', '17.69 2.28 15.41 paid'])
    expect(world.charged.map(({ amountMinor }) => amountMinor)).toEqual([1541n])
    expect(await left(world)).toEqual({ balance: '0.00', wallet: '0.00' })
  })

  test('by priority, then earliest expiry, then oldest', async () => {
    const world = await owing()
    await give(world, 'never', { amount: '5.00', priority: 1 })
    await give(world, 'late', { amount: '5.00', priority: 1, expiresAtMs: JANUARY + 90 * DAY_MS })
    await give(world, 'soon', { amount: '5.00', priority: 1, expiresAtMs: JANUARY + 30 * DAY_MS })
    await give(world, 'last', { amount: '5.00', priority: 2, expiresAtMs: JANUARY + 10 * DAY_MS })
    await give(world, 'first', { amount: '5.00', priority: 0 })
    world.clock.nowMs += 1
    await give(world, 'never-younger', { amount: '5.00', priority: 1 })
    await world.run(DECEMBER + 2 * HOUR_MS)
    expect(await left(world)).toEqual({
      ...{ balance: '12.28', first: '0.00', soon: '0.00', late: '0.00', never: '2.28', 'never-younger': '5.00' },
      last: '5.00',
    })
  })

  test('what has expired pays nothing, and is kept as expired once', async () => {
    const world = await owing()
    await give(world, 'short', { amount: '30.00', expiresAtMs: JANUARY + 5 * DAY_MS })
    await give(world, 'long', { amount: '10.00', priority: 5 })
    await world.run(DECEMBER + 2 * HOUR_MS)
    world.clock.nowMs = JANUARY + 5 * DAY_MS - 1
    expect(await expire(world)).toBe(0)
    expect((await left(world)).balance).toBe('22.28')
    world.clock.nowMs += 1
    expect((await left(world)).balance).toBe('10.00')
    // An invoice may be drawing on it at this moment.
    expect(await expire(world)).toBe(0)
    world.clock.nowMs += 5 * 60_000
    expect(await expire(world)).toBe(1)
    expect(await expire(world)).toBe(0)
    await world.run()
    expect(await left(world)).toEqual({ balance: '0.00', short: '0.00', long: '0.00' })
    expect(await paid(world)).toEqual(['17.72 17.72 0.00 paid', '17.69 10.00 7.69 paid'])
  })

  test('of nobody else: neither another customer’s nor another tenant’s', async () => {
    const [world, other] = [await owing(), await owing()]
    await world.subscribe('b', { endMs: DECEMBER, plan: 'llm' })
    await give(world, 'of-b', { customer: 'b' })
    await give(other, 'wallet')
    await world.run()
    expect(await paid(world)).toEqual(expect.arrayContaining(['17.72 0.00 17.72 paid', '17.69 0.00 17.69 paid']))
    expect(await left(other)).toEqual({ balance: '39.00', wallet: '39.00' })
  })

  test('of two transactions at once the second waits for the first, and finds what is left', async () => {
    const world = await owing()
    await world.run()
    await give(world, 'wallet', { amount: '10.00' })
    const invoices = await world.invoices()
    const draw = (place: number, before: () => Promise<void> = async () => undefined) =>
      world.transact(world.tenantId, async (tx) => {
        const { id, customer, subscriptionId, currency } = invoices[place]!
        const toPay = { id, customerId: customer.id, subscriptionId, currency, totalMinor: 700n, lines: [] }
        const paidOf = await drawCredit(tx, world, [toPay], world.now())
        await before()
        return paidOf.get(id)
      })
    let second: Promise<unknown> = Promise.resolve()
    const first = draw(0, async () => {
      second = draw(1)
      // Long enough for the second one to end, if it did not wait.
      await sleep(300)
    })
    expect(await first).toBe(700n)
    expect(await second).toBe(300n)
    expect((await left(world)).balance).toBe('0.00')
  })
})

describe('credit is given once per external key', () => {
  test('the same again answers the stored one, other content is refused', async () => {
    const world = await owing()
    const first = await give(world, 'wallet', { name: 'Welcome', expiresAtMs: JANUARY + DAY_MS * 30 })
    expect(first.created).toBe(true)
    const again = await give(world, 'wallet', { name: 'Welcome', expiresAtMs: JANUARY + DAY_MS * 30 })
    expect(again).toEqual({ grant: first.grant, created: false })
    await expect(give(world, 'wallet', { name: 'Welcome' })).rejects.toMatchObject({ code: 'conflict' })
    // A key is a customer's own.
    await world.subscribe('b', { endMs: DECEMBER })
    expect((await give(world, 'wallet', { customer: 'b' })).created).toBe(true)
    const both = await Promise.all([give(world, 'at-once'), give(world, 'at-once')])
    expect(both.map(({ created }) => created).sort()).toEqual([false, true])
    expect((await left(world)).balance).toBe('78.00')
  })

  test('an amount of nothing, of too many decimals, a time that has passed and nobody are refused', async () => {
    const world = await owing()
    const most = '10000000000000.00'
    await give(world, 'most', { customer: 'a', amount: most })
    const amounts = ['0.00', '-1.00', '1.001', '10000000000000.01'].map((amount) => ({ amount }))
    for (const change of [...amounts, { expiresAtMs: NOVEMBER }]) {
      await expect(give(world, 'bad', change)).rejects.toMatchObject({ code: 'invalid_request' })
    }
    await expect(give(world, 'bad', { customer: 'nobody' })).rejects.toMatchObject({ code: 'not_found' })
    expect(await left(world)).toEqual({ balance: most, most })
  })

  test('each keeps the balance right behind it', async () => {
    const world = await owing()
    expect((await give(world, 'one')).grant.balanceMinor).toBe(3_900n)
    await world.run(DECEMBER + 2 * HOUR_MS)
    expect((await give(world, 'two', { amount: '10.00' })).grant.balanceMinor).toBe(3_128n)
  })
})
