import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { drawCredit } from '../../../../invoicer/collection/credits/draw-credit.ts'
import { expireCredit } from '../../../../invoicer/collection/credits/expire-credit.ts'
import { readCredit } from '../../../../invoicer/collection/credits/read-credit.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { NOVEMBER } from '../../support/world.ts'
import { DAY_MS, give, ledger, open as openWorld, PAGE, renew, rollover, schedule } from './renewing.ts'

let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const open = (timezone?: string) => {
  worlds += 1
  return openWorld(database, `ledger-${worlds}`, timezone)
}

const FREE = { model: 'flat', amount: '0.00' } as const

test('of invoices issued at once, whatever they may draw on and whatever is renewed with them, none draws a cent twice', async () => {
  const world = await open()
  await world.plan({ key: 'daily', interval: 'day', charges: [{ key: 'b', name: 'B', meter: null, price: FREE }] })
  await world.subscribe('b', { plan: 'daily', endMs: null })
  world.clock.nowMs = NOVEMBER + 10 * DAY_MS
  await world.run()
  const invoices = (await world.invoices()).slice(0, 8)
  const customerId = (await world.transact(world.tenantId, (tx) => readCredit(tx, 'a', PAGE, 0))).customer.id
  const scope = { meters: ['context_tokens'], charges: [] }
  await schedule(world, { amount: '9.00', scope, rollover: rollover({ expires_after_days: 90, max_amount: '4.00' }) })
  await give(world, 'any', { amount: '11.00', priority: 3 })
  world.clock.nowMs = NOVEMBER + 10 * DAY_MS + 40 * DAY_MS
  // Each owes 2.00, of which 1.00 is in scope. Whatever the order, 11.00 of anything are first: they pay five, and the
  // other half of a sixth; 13.00 in scope pay 1.00 of that and of the last two.
  const half = { chargeKey: 'x', amountMinor: 100n, breakdown: [] }
  const lines = [
    { ...half, meter: 'context_tokens' },
    { ...half, meter: null },
  ]
  const drawn = await Promise.all(
    invoices.map(({ id, subscriptionId }) =>
      world.transact(world.tenantId, async (tx) => {
        const toPay = { id, customerId, subscriptionId, currency: 'USD', totalMinor: 200n, lines }
        return (await drawCredit(tx, world, [toPay], world.now())).get(id)
      }),
    ),
  )
  expect(drawn.map(Number).toSorted()).toEqual([100, 100, 200, 200, 200, 200, 200, 200])
  const sums = await ledger(world)
  expect(sums.drawn).toBe(1_400n)
  expect(sums.given).toBe(sums.drawn + sums.expired + sums.remaining)
})

/** A step of somebody's life with credit. */
const STEPS = fc.array(
  fc.record({
    what: fc.constantFrom('give', 'give', 'wait', 'draw', 'draw', 'expire'),
    amountMinor: fc.bigInt({ min: 1n, max: 500n }),
    days: fc.integer({ min: 1, max: 9 }),
  }),
  { minLength: 5, maxLength: 25 },
)

test('whatever happens in whatever order, given = drawn + expired + remaining, and what rolled over is neither', async () => {
  const world = await open()
  await world.plan({ key: 'daily', interval: 'day', charges: [{ key: 'b', name: 'B', meter: null, price: FREE }] })
  await world.subscribe('b', { plan: 'daily', endMs: null })
  world.clock.nowMs = NOVEMBER + 300 * DAY_MS
  await world.run()
  // Each draw is of an invoice of its own.
  const invoices = await world.invoices()
  const customerId = (await world.transact(world.tenantId, (tx) => readCredit(tx, 'a', PAGE, 0))).customer.id
  const draw = (totalMinor: bigint) =>
    world.transact(world.tenantId, async (tx) => {
      const { id, subscriptionId } = invoices.pop()!
      await drawCredit(
        tx,
        world,
        [{ id, customerId, subscriptionId, currency: 'USD', totalMinor, lines: [] }],
        world.now(),
      )
    })
  let key = 0
  const giveSome = (amountMinor: bigint, days: number) => {
    key += 1
    const terms = { rollover: rollover({ expires_after_days: days, max_percent: '70', times: 2 }) }
    const expiresAtMs = world.clock.nowMs + days * DAY_MS
    return give(world, `k${key}`, { ...terms, amount: formatMoney(amountMinor, 'USD'), expiresAtMs })
  }
  // Something of each, whatever is drawn below.
  await giveSome(500n, 1)
  await draw(100n)
  await renew(world, world.clock.nowMs + DAY_MS)
  await fc.assert(
    fc.asyncProperty(STEPS, async (steps) => {
      for (const { what, amountMinor, days } of steps) {
        if (what === 'give') await giveSome(amountMinor, days)
        else if (what === 'wait') await renew(world, world.clock.nowMs + days * DAY_MS)
        else if (what === 'draw') await draw(amountMinor)
        else await world.transact(world.tenantId, (tx) => expireCredit(tx, world))
      }
      const sums = await ledger(world)
      expect(sums.rolledIn).toBe(sums.rolledOut)
      expect(sums.given).toBe(sums.drawn + sums.expired + sums.remaining)
    }),
    { numRuns: 10 },
  )
  const { rolledOut, drawn, expired } = await ledger(world)
  for (const sum of [rolledOut, drawn, expired]) expect(sum).toBeGreaterThan(0n)
})
