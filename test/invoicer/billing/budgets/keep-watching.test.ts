import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { changeCustomer } from '../../../../invoicer/agreements/customers/change-customer.ts'
import { createLegalEntity } from '../../../../invoicer/agreements/entities/create-legal-entity.ts'
import { claimBudgets, tenantsWithDueBudgets } from '../../../../invoicer/billing/budgets/budgets.postgres.ts'
import { putBudget, removeBudget } from '../../../../invoicer/billing/budgets/change-budget.ts'
import { keepWatching, type WatchDeps } from '../../../../invoicer/billing/budgets/keep-watching.ts'
import { type LookDeps, watchBudgets } from '../../../../invoicer/billing/budgets/look-at-spend.ts'
import { listSpendAlerts } from '../../../../invoicer/billing/budgets/spend-alerts.postgres.ts'
import { createWatchMetrics } from '../../../../invoicer/billing/budgets/watching.prometheus.ts'
import type { UsageReader } from '../../../../invoicer/billing/usage.ts'
import { listBillingEvents } from '../../../../invoicer/outbox/history.postgres.ts'
import type { Transact } from '../../../../invoicer/transaction.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, NOVEMBER, TOO_MUCH, type World } from '../../support/world.ts'

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
/** A flat fee of 20.00; a million context tokens are 3.00. */
const MILLION = '1000000'
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** A tenant in the middle of November; its minutes pass when the test says so. */
async function open(slug: string, ...names: string[]): Promise<World> {
  const world = await createWorld(database, slug)
  world.clock.nowMs = NOVEMBER + 10 * DAY_MS
  await world.plan()
  for (const name of names) await world.subscribe(name, { endMs: null })
  return world
}

/** A process that watches budgets. All tests share a database: it sees the world's tenant only. */
function watcher(world: World, change: Partial<LookDeps & WatchDeps> = {}) {
  const registry = new Registry()
  const logger = { error: vi.fn() }
  const stop = new AbortController()
  const { now, newId, transact } = world
  const { pass } = keepWatching(
    {
      watch: watchBudgets({ now, newId, transact, usage: world.deps.usage, ...change }),
      now,
      tenantsDue: async (atMs) =>
        (await tenantsWithDueBudgets(database.pool, atMs)).filter(({ tenantId }) => tenantId === world.tenantId),
      metrics: createWatchMetrics(registry)('budget'),
      logger,
      ...change,
    },
    stop.signal,
  )
  return {
    pass,
    logger,
    metric: async (name: string) => (await registry.getSingleMetricAsString(name)).split(' ').at(-1),
  }
}
const budget = (world: World, subscription: string, amount: string, thresholds?: string[]) =>
  world.transact(world.tenantId, (tx) => putBudget(tx, { subscription, amount, thresholds }, world))
const told = async (world: World) =>
  (
    await world.transact(world.tenantId, (tx) =>
      listSpendAlerts(tx, { subscription: null }, { limit: 999, after: null }),
    )
  )
    .reverse()
    .map(({ subscriptionKey, level, spentMinor, budgetMinor, periodStartMs }) => {
      const month = new Date(periodStartMs).toISOString().slice(0, 7)
      return `${subscriptionKey} ${month} ${level} of ${formatMoney(budgetMinor, 'USD')}: ${formatMoney(spentMinor, 'USD')}`
    })
const endpoint = (world: World, name: string, topics: string) =>
  world.transact(world.tenantId, (tx) =>
    tx.query(
      `INSERT INTO webhook_endpoints (tenant_id, id, name, url, topics, secret, created_at, updated_at)
       VALUES (app_tenant(), $1, $2, 'https://hooks.example.com', $3, 'whsec_x', now(), now())`,
      [world.newId(), name, topics],
    ),
  )
type Delivery = { name: string; event_id: string; payload: { type: string; timestamp: string; data: object } }
const deliveries = async (world: World): Promise<Delivery[]> => {
  const sql = `SELECT e.name, d.event_id, d.payload FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id
    WHERE d.state = 'waiting' ORDER BY d.event_id, e.name`
  return (await world.transact(world.tenantId, (tx) => tx.query<Delivery>(sql))).rows
}

/** Issue 6: thresholds on spend, fired once per period and level, as event and webhook. */
describe('spend that reaches levels of a budget', () => {
  test('counts without its tax where only that is not known', async () => {
    const world = await open('untaxed', 'ann', 'bob')
    const tax = {
      enabled: true,
      engine: 'embedded',
      rounding: 'per_line',
      inclusive: false,
      euConsumers: 'destination',
    } as const
    const registrations = [{ country: 'GR', number: 'EL123456789' }]
    const rest = { address: null, defaultCurrency: null, registrations, tax }
    const hellas = { key: 'hellas', name: 'Hellas', country: 'GR', numberPrefix: 'H', ...rest }
    await world.transact(world.tenantId, async (tx) => {
      await createLegalEntity(tx, hellas, world)
      await changeCustomer(tx, 'bob', { billingAddress: { country: 'GR' } }, world)
    })
    for (const name of ['ann', 'bob']) await budget(world, name, '20.00', ['100%'])
    const { pass, logger } = watcher(world)
    world.clock.nowMs += MINUTE_MS
    await pass()
    expect(await told(world)).toEqual(['ann 2023-11 100% of 20.00: 20.00', 'bob 2023-11 100% of 20.00: 24.80'])
    expect(logger.error).not.toHaveBeenCalled()
  })

  test('is told in a minute, once, to the list, the history and the webhooks that want to know', async () => {
    const world = await open('once', 'ann')
    await endpoint(world, 'spend', '{quota.threshold_reached,spend.threshold_reached}')
    await endpoint(world, 'quotas', '{quota.threshold_reached}')
    await budget(world, 'ann', '30.00', ['100%', '50%', '22.00'])
    const { pass, metric } = watcher(world)
    await pass()
    expect(await told(world)).toEqual(['ann 2023-11 50% of 30.00: 20.00'])
    world.use('ann', 'context_tokens', MILLION, world.clock.nowMs)
    await pass()
    expect(await told(world)).toHaveLength(1)
    world.clock.nowMs += MINUTE_MS
    for (let passes = 0; passes < 3; passes++) {
      await pass()
      world.clock.nowMs += MINUTE_MS
    }
    expect(await told(world)).toEqual(['ann 2023-11 50% of 30.00: 20.00', 'ann 2023-11 22.00 of 30.00: 23.00'])
    const sent = await deliveries(world)
    expect(sent.map(({ name }) => name)).toEqual(['spend', 'spend'])
    expect(sent[1]!.payload).toEqual({
      type: 'spend.threshold_reached',
      timestamp: '2023-11-11T00:01:00.000Z',
      data: {
        id: sent[1]!.event_id,
        subscription_id: expect.any(String),
        ...{ subscription: 'ann', customer: 'ann', level: '22.00', budget: '30.00', spent: '23.00', currency: 'USD' },
        ...{ period_start: '2023-11-01T00:00:00.000Z', period_end: '2023-12-01T00:00:00.000Z' },
        fired_at: '2023-11-11T00:01:00.000Z',
      },
    })
    const history = await world.transact(world.tenantId, (tx) =>
      listBillingEvents(tx, { invoice: null, customer: 'ann' }, { limit: 99, after: null }),
    )
    const events = history.filter(({ event }) => event === 'spend.threshold_reached')
    expect(events.map(({ id }) => id)).toEqual(sent.map(({ event_id }) => event_id))
    expect([await metric('billing_spend_alerts_total'), await metric('billing_spend_watch_failures_total')]).toEqual([
      '2',
      '0',
    ])
  })

  test('is told once though several processes look at the same time, and none looks twice', async () => {
    const names = Array.from({ length: 30 }, (_, n) => `s-${n}`)
    const world = await open('crowd', ...names)
    for (const name of names) await budget(world, name, '20.00')
    const asked: string[] = []
    const usage: UsageReader = {
      ...world.deps.usage,
      quantities: async (tenantId, before, requests) => {
        asked.push(...requests.flatMap(({ subjects, meter }) => subjects.map((subject) => `${subject} ${meter}`)))
        return world.deps.usage.quantities(tenantId, before, requests)
      },
    }
    await Promise.all([1, 2, 3, 4].map(() => watcher(world, { usage }).pass()))
    expect(await told(world)).toHaveLength(90)
    expect(new Set(await told(world)).size).toBe(90)
    expect(asked).toHaveLength(60)
  })

  test('and was not told by a process that died over it is told a minute later', async () => {
    const world = await open('killed', 'ann')
    await endpoint(world, 'spend', '{spend.threshold_reached}')
    await budget(world, 'ann', '20.00', ['100%'])
    // It dies when it has taken the budget and reads usage.
    const never = { ...world.deps.usage, quantities: () => new Promise<never>(() => undefined) }
    void watcher(world, { usage: never }).pass()
    await expect
      .poll(() => tenantsWithDueBudgets(database.pool, world.now()))
      .not.toContainEqual(expect.objectContaining({ tenantId: world.tenantId }))
    await watcher(world).pass()
    expect(await told(world)).toEqual([])
    // Another dies with alert and delivery written, right before the commit.
    world.clock.nowMs += MINUTE_MS
    let reached = 0
    const dying: Transact = (tenantId, work) =>
      world.transact(tenantId, async (tx) => {
        const result = await work(tx)
        const written = await tx.query('SELECT FROM spend_alerts a JOIN webhook_deliveries d ON d.event_id = a.id')
        if (written.rowCount === 0) return result
        reached += 1
        throw new Error('killed')
      })
    await watcher(world, { transact: dying }).pass()
    expect([reached, await told(world), await deliveries(world)]).toEqual([1, [], []])
    world.clock.nowMs += MINUTE_MS
    const { pass, metric } = watcher(world)
    await pass()
    expect([(await told(world)).length, (await deliveries(world)).length]).toEqual([1, 1])
    expect(await metric('billing_spend_watch_lag_seconds')).toBe('0')
  })

  test('is not told again when the budget is raised, lowered, or set anew; levels not told yet are', async () => {
    const world = await open('raised', 'ann')
    const { pass } = watcher(world)
    await budget(world, 'ann', '20.00')
    await pass()
    expect((await told(world)).map((text) => text.split(' ')[2])).toEqual(['50%', '80%', '100%'])
    await budget(world, 'ann', '40.00', ['50%', '100%', '15.00'])
    await pass()
    expect((await told(world)).slice(3)).toEqual(['ann 2023-11 15.00 of 40.00: 20.00'])
    await world.transact(world.tenantId, (tx) => removeBudget(tx, 'ann', world))
    await pass()
    await budget(world, 'ann', '10.00', ['100%', '200%'])
    await pass()
    expect((await told(world)).slice(4)).toEqual(['ann 2023-11 200% of 10.00: 20.00'])
  })

  test('is told anew in the next period, and of the last minutes of a period after its end', async () => {
    const world = await open('periods', 'ann')
    await budget(world, 'ann', '25.00', ['80%', '90%', '100%'])
    const { pass } = watcher(world)
    world.clock.nowMs = DECEMBER - MINUTE_MS
    await pass()
    world.use('ann', 'context_tokens', MILLION, DECEMBER - 1)
    world.clock.nowMs = DECEMBER
    await pass()
    expect(await told(world)).toEqual([
      'ann 2023-11 80% of 25.00: 20.00',
      'ann 2023-11 90% of 25.00: 23.00',
      'ann 2023-12 80% of 25.00: 20.00',
    ])
    // Late, within the grace of an hour: that is still November's.
    world.clock.nowMs = DECEMBER + 59 * MINUTE_MS
    world.use('ann', 'context_tokens', MILLION, DECEMBER - 2, world.clock.nowMs)
    await pass()
    world.clock.nowMs += 2 * MINUTE_MS
    world.use('ann', 'context_tokens', MILLION, DECEMBER - 3, world.clock.nowMs)
    await pass()
    expect((await told(world)).slice(3)).toEqual(['ann 2023-11 100% of 25.00: 26.00'])
  })
})

describe('watching', () => {
  test('takes budgets that nobody else takes: a process that is about to leaves the others to them', async () => {
    const world = await open('claims', 'ann', 'bob')
    for (const name of ['ann', 'bob']) await budget(world, name, '20.00')
    const claim = (most: number) => (tx: TenantTransaction) =>
      claimBudgets(tx, world.now(), world.now() + MINUTE_MS, most)
    const [first, second, third] = await world.transact(world.tenantId, async (tx) => [
      await claim(1)(tx),
      await world.transact(world.tenantId, claim(9)),
      await world.transact(world.tenantId, claim(9)),
    ])
    expect([first?.length, second?.length, third]).toEqual([1, 1, []])
    expect(new Set([...(first ?? []), ...(second ?? [])].map(({ subscriptionKey }) => subscriptionKey)).size).toBe(2)
  })

  test('one whose spend cannot be told holds up no other, and is told in the log', async () => {
    const world = await open('bad', 'ann', 'bob', 'eve', 'zoe')
    for (const name of ['ann', 'bob', 'eve', 'zoe']) await budget(world, name, '20.00', ['100%'])
    // Bob cannot be rated; the usage of whoever is asked together with Eve cannot be read.
    world.use('bob', 'context_tokens', TOO_MUCH, NOVEMBER)
    const usage: UsageReader = {
      ...world.deps.usage,
      quantities: async (tenantId, before, requests) => {
        if (requests.some(({ subjects }) => subjects.includes('eve'))) throw new Error('too many rows')
        return world.deps.usage.quantities(tenantId, before, requests)
      },
    }
    const { pass, logger, metric } = watcher(world, { usage })
    await pass()
    expect(await told(world)).toEqual(['ann 2023-11 100% of 20.00: 20.00', 'zoe 2023-11 100% of 20.00: 20.00'])
    expect(await metric('billing_spend_watch_failures_total')).toBe('2')
    expect(logger.error).toHaveBeenCalledTimes(1)
    expect(logger.error.mock.calls[0]![0]).toMatchObject({ event: 'spend_watch_failed', count: 2 })
    // What could be told again is, as soon as it can.
    world.clock.nowMs += MINUTE_MS
    await watcher(world).pass()
    expect((await told(world)).slice(2)).toEqual(['eve 2023-11 100% of 20.00: 20.00'])
  })

  test('ends a pass though budgets become due again in it: other tenants wait for its end', async () => {
    const world = await open('slow', 'ann')
    await budget(world, 'ann', '20.00')
    let readings = 0
    const slow: UsageReader = {
      ...world.deps.usage,
      quantities: (tenantId, before, requests) => {
        readings += 1
        world.clock.nowMs += 2 * MINUTE_MS
        return readings > 9
          ? Promise.reject(new Error('endless'))
          : world.deps.usage.quantities(tenantId, before, requests)
      },
    }
    await watcher(world, { usage: slow }).pass()
    expect(readings).toBe(1)
  })

  test('of one tenant goes on when the stores fail for another, and the metrics say what is late', async () => {
    const [ill, well] = [await open('ill', 'ann'), await open('well', 'bob')]
    await budget(ill, 'ann', '20.00', ['100%'])
    await budget(well, 'bob', '20.00', ['100%'])
    const dueSinceMs = well.clock.nowMs - 90_000
    const tenantsDue = async () => [ill, well].map(({ tenantId }) => ({ tenantId, dueSinceMs }))
    const transact: Transact = (tenantId, work) =>
      tenantId === ill.tenantId ? Promise.reject(new Error('away')) : well.transact(tenantId, work)
    const { pass, logger, metric } = watcher(well, { tenantsDue, transact })
    await pass()
    expect([await told(ill), await told(well)]).toEqual([[], ['bob 2023-11 100% of 20.00: 20.00']])
    expect(logger.error.mock.calls[0]![0]).toMatchObject({ tenant_id: ill.tenantId })
    expect(await metric('billing_spend_watch_lag_seconds')).toBe('90')
    expect(await metric('billing_spend_watch_last_pass_timestamp_seconds')).toBe('0')
    await watcher(ill).pass()
    const healthy = watcher(well)
    await healthy.pass()
    expect(Number(await healthy.metric('billing_spend_watch_last_pass_timestamp_seconds'))).toBe(well.now() / 1000)
    const blind = watcher(well, { tenantsDue: () => Promise.reject(new Error('Postgres is away')) })
    await blind.pass()
    expect(blind.logger.error).toHaveBeenCalledTimes(1)
  })

  test('costs nothing without budgets, before a subscription begins, and long after it ended', async () => {
    const world = await open('free', 'none')
    await world.subscribe('coming', { startMs: NOVEMBER + 20 * DAY_MS, endMs: null })
    await world.subscribe('gone', { startMs: NOVEMBER, endMs: NOVEMBER + DAY_MS })
    const isDue = async () =>
      (await tenantsWithDueBudgets(database.pool, world.now())).some(({ tenantId }) => tenantId === world.tenantId)
    expect(await isDue()).toBe(false)
    await budget(world, 'coming', '0.00', ['100%'])
    await watcher(world).pass()
    world.clock.nowMs = NOVEMBER + 20 * DAY_MS - 1
    expect(await isDue()).toBe(false)
    world.clock.nowMs += 1
    expect(await isDue()).toBe(true)
    await watcher(world).pass()
    expect(await told(world)).toEqual(['coming 2023-11 100% of 0.00: 6.67'])
    await world.transact(world.tenantId, (tx) => removeBudget(tx, 'coming', world))
    world.clock.nowMs = NOVEMBER + 40 * DAY_MS
    await budget(world, 'gone', '0.01', ['100%'])
    await watcher(world).pass()
    world.clock.nowMs += 400 * DAY_MS
    expect([await isDue(), (await told(world)).length]).toEqual([false, 1])
  })
})
