import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createCoupon } from '../../../../invoicer/agreements/coupons/create-coupon.ts'
import { giveDiscount } from '../../../../invoicer/agreements/coupons/give-discount.ts'
import { createSubscription } from '../../../../invoicer/agreements/subscriptions/create-subscription.ts'
import { putBudget } from '../../../../invoicer/billing/budgets/change-budget.ts'
import { keepWatching } from '../../../../invoicer/billing/budgets/keep-watching.ts'
import { watchBudgets } from '../../../../invoicer/billing/budgets/look-at-spend.ts'
import { listSpendAlerts } from '../../../../invoicer/billing/budgets/spend-alerts.postgres.ts'
import { createWatchMetrics } from '../../../../invoicer/billing/budgets/watching.prometheus.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../agreements/subscriptions/changing-world.ts'
import { available, give, open } from '../../collection/credits/watched-credit.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'
import { createFeesWorld, type FeesWorld } from './fees-world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const CHARGES = (amount: string) => [
  { key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount } as const },
  { key: 'use', name: 'Use', meter: 'context_tokens', price: { model: 'per_unit', unit_amount: '0.01' } as const },
]

function watcher({ now, newId, transact, tenantId, deps }: FeesWorld) {
  return keepWatching(
    {
      watch: watchBudgets({ now, newId, transact, usage: deps.usage }),
      now,
      tenantsDue: async () => [{ tenantId, dueSinceMs: now() }],
      metrics: createWatchMetrics(new Registry())('budget'),
      logger: { error: vi.fn() },
    },
    new AbortController().signal,
  )
}

/** Of ann, as an alert tells it whose level is reached. */
function spender(world: FeesWorld): (level: string) => Promise<bigint | undefined> {
  const { pass } = watcher(world)
  return async (level) => {
    await world.transact(world.tenantId, (tx) =>
      putBudget(tx, { subscription: 'ann', amount: '1000.00', thresholds: [level] }, world),
    )
    world.clock.nowMs += MINUTE_MS
    await pass()
    const alerts = await world.transact(world.tenantId, (tx) =>
      listSpendAlerts(tx, { subscription: null }, { limit: 99, after: null }),
    )
    return alerts.find((one) => one.level === level && one.periodStartMs <= world.now())?.spentMinor
  }
}

/** Whenever they are billed: neither twice, nor those of the next period. */
test('a budget compares usage and fees of its own period', async () => {
  const world = await createFeesWorld(database, 'spend')
  await world.ahead('small', '', { charges: CHARGES('100.00') })
  world.clock.nowMs = NOVEMBER
  await world.subscribe('ann', { plan: 'small', endMs: null })
  const spent = spender(world)
  expect(await spent('1.00')).toBe(10_000n)
  await world.run()
  expect(await spent('2.00')).toBe(10_000n)
  world.use('ann', 'context_tokens', '500', NOVEMBER)
  expect(await spent('3.00')).toBe(10_500n)
  world.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await world.run()
  expect(await spent('4.00')).toBe(10_000n)
})

/** Decision 0039: a fee in advance has the discounts of the invoice that billed it, not those of its period's end. */
test('a budget counts fees in advance behind the discounts that they really had', async () => {
  const world = await createFeesWorld(database, 'spend-discounted')
  await world.ahead('small', '', { charges: CHARGES('100.00') })
  await world.ahead('large', '', { charges: CHARGES('300.00') })
  world.clock.nowMs = NOVEMBER
  await world.subscribe('ann', { plan: 'small', endMs: null })
  const half = { percent: '50', amount: null, currency: null, charges: null, redeemByMs: null, maxRedemptions: null }
  await world.transact(world.tenantId, (tx) =>
    createCoupon(tx, { key: 'half', name: 'Half', cycles: 1, ...half }, world),
  )
  const to = { externalKey: 'd', coupon: 'half', to: { subscription: 'ann' }, startMs: null }
  await world.transact(world.tenantId, (tx) => giveDiscount(tx, to, world))
  await world.run()
  world.use('ann', 'context_tokens', '500', NOVEMBER)
  // 50.00 was billed, and the one cycle is used up.
  const spent = spender(world)
  expect(await spent('1.00')).toBe(5_500n)
  // The half of that is given back, and nothing is off the new plan's 150.00.
  world.clock.nowMs = NOVEMBER + 15 * DAY_MS
  await world.toPlan('ann', 'large', 'now')
  expect(await spent('2.00')).toBe(18_000n)
})

test('prepaid credit that is available counts a fee once, before it is invoiced and behind that', async () => {
  const world = await open(database, 'credit', 'other')
  await world.plan({ key: 'small', fees: 'in_advance', charges: CHARGES('100.00') })
  await world.subscribe('ann', { plan: 'small', startMs: world.now(), endMs: null })
  await give(world, 'ann', '500.00')
  // 20 of 30 days.
  expect(await available(world)).toBe('433.33 left')
  await world.run()
  expect(await available(world)).toBe('433.33 left')
  world.use('ann', 'context_tokens', '1000', world.now())
  expect(await available(world)).toBe('423.33 left')
  world.clock.nowMs = DECEMBER + HOUR_MS / 2
  expect(await available(world)).toBe('323.33 left')
  world.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await world.run()
  expect(await available(world)).toBe('323.33 left')
  world.clock.nowMs = DECEMBER + DAY_MS
  expect(await available(world)).toBe('323.33 left')
})

/** billing-rules "Proration": nobody pays ahead for what may be cancelled. Credit that is bought by itself is not bought on it. */
test('prepaid credit that is available counts the fee behind a trial from its end on', async () => {
  const world = await open(database, 'trial-credit', 'other')
  await world.plan({ key: 'small', fees: 'in_advance', charges: CHARGES('100.00') })
  const [startMs, trialEndMs] = [world.now(), world.now() + 5 * DAY_MS]
  await world.subscribe('ann', { plan: 'llm', endMs: startMs })
  await world.transact(world.tenantId, (tx) =>
    createSubscription(
      tx,
      {
        ...{ externalKey: 'tried', customer: 'ann', planKey: 'small', startMs, endMs: null },
        trial: { endMs: trialEndMs },
      },
      world,
    ),
  )
  await give(world, 'ann', '500.00')
  expect(await available(world)).toBe('500.00 left')
  world.clock.nowMs = trialEndMs - HOUR_MS
  expect(await available(world)).toBe('500.00 left')
  // 15 of 30 days.
  world.clock.nowMs = trialEndMs
  expect(await available(world)).toBe('450.00 left')
  await world.run()
  expect(await available(world)).toBe('450.00 left')
})
