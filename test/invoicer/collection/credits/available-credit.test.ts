import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { UsageReader } from '../../../../invoicer/billing/usage.ts'
import { createSchedule } from '../../../../invoicer/collection/credits/create-schedule.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, JANUARY, NOVEMBER, TOO_MUCH } from '../../support/world.ts'
import {
  available,
  behind,
  DAY_MS,
  give,
  HOUR_MS,
  isDue,
  levels,
  MINUTE_MS,
  open,
  toldNext,
  watcher,
} from './watched-credit.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

describe('what is spent', () => {
  /** C1 of the worked cases: 39.00 − 17.72 = 21.28, and 21.28 − 17.69 = 3.59. */
  test('counts before it is invoiced, and not twice when it is invoiced and drawn', async () => {
    const world = await open(database, 'drawn', 'ann')
    await give(world, 'ann', '39.00')
    world.use('ann', 'context_tokens', '1772', NOVEMBER)
    world.use('ann', 'context_tokens', '1769', DECEMBER)
    expect(await available(world)).toBe('21.28 left')
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    const unbilled = await available(world)
    await world.run()
    expect([unbilled, await available(world)]).toEqual(['3.59 left', '3.59 left'])
    world.clock.nowMs = JANUARY + 2 * HOUR_MS
    const halfBilled = await available(world)
    await world.run()
    expect([halfBilled, await available(world)]).toEqual(['3.59 left', '3.59 left'])
    expect((await world.invoices()).map(({ creditMinor }) => creditMinor)).toEqual([1_772n, 1_769n])
  })

  test('and is drawn while it is looked at counts a minute late, never twice', async () => {
    const world = await open(database, 'between', 'ann')
    await give(world, 'ann', '20.00')
    await levels(world, 'ann', ['80%'])
    world.use('ann', 'context_tokens', '1000', NOVEMBER)
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    let runs = 0
    const run = async () => {
      runs += 1
      if (runs === 1) await world.run()
    }
    // Behind whichever is read first. Twice 10.00 would be 100 % of 20.00.
    const drawing = behind(world, /FROM credit_grants|FROM subscriptions/, run)
    expect(await toldNext(world, watcher(world, { transact: drawing }))).toEqual([])
    expect([runs > 0, (await world.invoices()).map(({ creditMinor }) => creditMinor)]).toEqual([true, [1_000n]])
    expect(await available(world)).toBe('10.00 left')
  })

  test('is that of all subscriptions and of every period without an invoice', async () => {
    const world = await open(database, 'periods', 'ann', 'bob')
    await world.plan({
      key: 'base',
      charges: [{ key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount: '5.00' } }],
    })
    await world.transact(world.tenantId, (tx) =>
      tx.query(
        `INSERT INTO subscriptions (tenant_id, id, external_key, customer_id, plan_id, state, start_at, next_period_start,
           next_period_end, created_at)
         SELECT app_tenant(), $1, 'ann-base', c.id, p.id, 'active', $2, $2, $3, $2 FROM customers c, plans p
         WHERE c.external_key = 'ann' AND p.key = 'base'`,
        [world.newId(), new Date(DECEMBER), new Date(JANUARY)],
      ),
    )
    await give(world, 'ann', '100.00')
    for (const [n, startMs] of [NOVEMBER, DECEMBER, JANUARY].entries()) {
      world.use('ann', 'context_tokens', String(100 * 10 ** n), startMs)
      world.use('bob', 'context_tokens', '99999', startMs)
    }
    expect(await available(world)).toBe('99.00 left')
    world.clock.nowMs = DECEMBER - MINUTE_MS
    expect(await available(world)).toBe('84.00 left')
    world.clock.nowMs = JANUARY + DAY_MS
    expect(await available(world)).toBe('-21.00 left')
  })
})

describe('watching credit', () => {
  test('ends when everything of a fill is told, until the next grant or change', async () => {
    const world = await open(database, 'resting', 'ann')
    expect(await isDue(world)).toBe(false)
    await levels(world, 'ann', ['100%'])
    expect([await isDue(world), await toldNext(world), await isDue(world)]).toEqual([true, [], false])
    world.clock.nowMs += 400 * DAY_MS
    expect(await isDue(world)).toBe(false)
    await give(world, 'ann', '1.00')
    expect(await isDue(world)).toBe(true)
    world.use('ann', 'context_tokens', '100', NOVEMBER)
    expect(await toldNext(world)).toEqual(['ann 100%: 1.00 of 1.00, 0.00 left'])
    const usage = { ...world.deps.usage, quantities: vi.fn(world.deps.usage.quantities) }
    expect(await toldNext(world, watcher(world, { usage }))).toEqual([])
    world.clock.nowMs += 400 * DAY_MS
    expect([await isDue(world), usage.quantities.mock.calls]).toEqual([false, []])
    await levels(world, 'ann', ['90%'])
    expect(await isDue(world)).toBe(true)
  })

  test('goes on though a grant comes as it is about to end', async () => {
    const world = await open(database, 'awake', 'ann')
    await give(world, 'ann', '1.00')
    world.use('ann', 'context_tokens', '100', NOVEMBER)
    expect(await toldNext(world)).toHaveLength(3)
    let grant: Promise<unknown> = Promise.resolve()
    const granting = behind(world, /ARRAY\(SELECT a.level/, () => {
      grant = give(world, 'ann', '1.00')
    })
    // The pass may find the grant at its end; otherwise the next one does.
    const told = await toldNext(world, watcher(world, { transact: granting }))
    await grant
    expect([...told, ...(await toldNext(world))]).toEqual(['ann 50%: 1.00 of 2.00, 1.00 left'])
    world.clock.nowMs += MINUTE_MS
    expect(await isDue(world)).toBe(true)
  })

  test('of one whose spend cannot be told whole tells what is reached all the same, and holds up no other', async () => {
    const world = await open(database, 'bad', 'ann', 'bob', 'eve', 'zoe')
    for (const name of ['ann', 'bob', 'eve', 'zoe']) {
      await give(world, name, '5.00', { expiresAtMs: world.clock.nowMs + 5 * MINUTE_MS })
      await give(world, name, '5.00')
      await levels(world, name, ['50%'])
    }
    // Bob cannot be rated; the usage of whoever is asked together with Eve cannot be read.
    world.use('bob', 'context_tokens', TOO_MUCH, NOVEMBER)
    const usage: UsageReader = {
      ...world.deps.usage,
      quantities: async (tenantId, before, requests) => {
        if (requests.some(({ subjects }) => subjects.includes('eve'))) throw new Error('too many rows')
        return world.deps.usage.quantities(tenantId, before, requests)
      },
    }
    world.clock.nowMs += 5 * MINUTE_MS
    const { pass, logger, metric } = watcher(world, { usage })
    expect((await toldNext(world, { pass })).sort()).toEqual(
      ['ann', 'bob', 'zoe'].map((name) => `${name} 50%: 5.00 of 10.00, 5.00 left`),
    )
    expect(await metric('billing_spend_watch_failures_total')).toMatch(/ 2$/)
    expect(logger.error).toHaveBeenCalledTimes(1)
    expect(logger.error.mock.calls[0]![0]).toMatchObject({
      ...{ event: 'credit_watch_failed', count: 2, customer_id: expect.any(String) },
    })
    expect(await toldNext(world)).toEqual(['eve 50%: 5.00 of 10.00, 5.00 left'])
  })
})

describe('credit that renews itself, or pays some lines only', () => {
  const rollover = { max_amount: null, max_percent: null, expires_after_days: null, times: 1 }
  const monthly = {
    ...{ externalKey: 'monthly', customer: 'ann', name: null, amount: '100.00', priority: 0, scope: null, rollover },
    ...{ cadence: { interval: 'month', every: 1 } as const, startMs: null, untilMs: null, grants: null },
    ...{ expires: 'next_grant' as const, expiresAfterDays: null },
  }

  test('is renewed before it is looked at: no level is told of what has expired and is there again', async () => {
    const world = await open(database, 'renewed', 'ann')
    world.clock.nowMs = NOVEMBER
    await world.transact(world.tenantId, (tx) => createSchedule(tx, monthly, world))
    world.clock.nowMs = DECEMBER - MINUTE_MS
    expect(await toldNext(world)).toEqual([])
    // Nobody but the watch has come since December began.
    expect(await available(world)).toBe('200.00 left')
    await levels(world, 'ann', ['50%'])
    world.use('ann', 'context_tokens', '10000', DECEMBER)
    expect(await toldNext(world)).toEqual(['ann 50%: 100.00 of 200.00, 100.00 left'])
  })

  test('is spent by what it pays alone', async () => {
    const world = await open(database, 'scoped', 'ann')
    const scope = { meters: ['generated_tokens'], charges: [] }
    await give(world, 'ann', '10.00', { scope })
    world.use('ann', 'context_tokens', '5000', NOVEMBER)
    expect(await available(world)).toBe('10.00 left')
    await give(world, 'ann', '20.00')
    expect(await available(world)).toBe('10.00 left')
  })
})
