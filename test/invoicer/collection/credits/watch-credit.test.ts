import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { UsageReader } from '../../../../invoicer/billing/usage.ts'
import { expireCredit } from '../../../../invoicer/collection/credits/expire-credit.ts'
import { listBillingEvents } from '../../../../invoicer/outbox/history.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { NOVEMBER } from '../../support/world.ts'
import {
  available,
  behind,
  DAY_MS,
  deliveries,
  endpoint,
  give,
  HOUR_MS,
  isDue,
  levels,
  MINUTE_MS,
  open,
  told,
  toldNext,
  watcher,
} from './watched-credit.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Issue 6: thresholds on prepaid credit, fired once per fill and level, as event, webhook and mail. */
describe('credit of which levels are used', () => {
  test('is told in a minute, once, to the list, the history and the webhooks that want to know', async () => {
    const world = await open(database, 'once', 'ann')
    await endpoint(world, 'credit', '{spend.threshold_reached,credit.threshold_reached}')
    await endpoint(world, 'spend', '{spend.threshold_reached}')
    await give(world, 'ann', '39.00')
    await levels(world, 'ann', ['100%', '50%'], ['10.00'])
    const { pass, metric } = watcher(world)
    world.use('ann', 'context_tokens', '1949', world.clock.nowMs)
    expect(await toldNext(world, { pass })).toEqual([])
    world.use('ann', 'context_tokens', '1', world.clock.nowMs)
    await pass()
    expect(await told(world)).toEqual([])
    expect(await toldNext(world, { pass })).toEqual(['ann 50%: 19.50 of 39.00, 19.50 left'])
    world.use('ann', 'context_tokens', '1000', world.clock.nowMs)
    expect(await toldNext(world, { pass })).toEqual(['ann 10.00 left: 29.50 of 39.00, 9.50 left'])
    for (let passes = 0; passes < 3; passes++) expect(await toldNext(world, { pass })).toEqual([])
    const sent = await deliveries(world)
    expect(sent.map(({ name }) => name)).toEqual(['credit', 'credit'])
    expect(sent[1]!.payload).toEqual({
      type: 'credit.threshold_reached',
      timestamp: '2023-11-11T00:03:00.000Z',
      data: {
        ...{ id: sent[1]!.event_id, customer: 'ann', level: '10.00 left' },
        ...{ base: '39.00', used: '29.50', available: '9.50', currency: 'USD' },
        fired_at: '2023-11-11T00:03:00.000Z',
      },
    })
    const history = await world.transact(world.tenantId, (tx) =>
      listBillingEvents(tx, { invoice: null, customer: 'ann' }, { limit: 99, after: null }),
    )
    const events = history.filter(({ event }) => event === 'credit.threshold_reached')
    expect(events.map(({ id }) => id)).toEqual(sent.map(({ event_id }) => event_id))
    expect(await metric('billing_spend_alerts_total')).toBe('billing_spend_alerts_total{against="credit"} 2')
    expect(await metric('billing_spend_watch_failures_total')).toBe(
      'billing_spend_watch_failures_total{against="credit"} 0',
    )
  })

  test('is told once though several processes look at the same time, and none looks twice', async () => {
    const names = Array.from({ length: 30 }, (_, n) => `s-${n}`)
    const world = await open(database, 'crowd', ...names)
    for (const name of names) {
      await give(world, name, '10.00')
      world.use(name, 'context_tokens', '1000', NOVEMBER)
    }
    const asked: string[] = []
    const usage: UsageReader = {
      ...world.deps.usage,
      quantities: async (tenantId, before, requests) => {
        asked.push(...requests.flatMap(({ subjects }) => subjects))
        return world.deps.usage.quantities(tenantId, before, requests)
      },
    }
    await Promise.all([1, 2, 3, 4].map(() => watcher(world, { usage }).pass()))
    expect([(await told(world)).length, new Set(await told(world)).size, asked.length]).toEqual([90, 90, 30])
  })

  test('and was not told by a process that died over it is told a minute later, once', async () => {
    const world = await open(database, 'killed', 'ann')
    await endpoint(world, 'credit', '{credit.threshold_reached}')
    await give(world, 'ann', '10.00')
    await levels(world, 'ann', ['100%'])
    world.use('ann', 'context_tokens', '1000', NOVEMBER)
    // It dies when it has taken the thresholds and reads usage.
    const never = { ...world.deps.usage, quantities: () => new Promise<never>(() => undefined) }
    void watcher(world, { usage: never }).pass()
    await expect.poll(() => isDue(world)).toBe(false)
    await watcher(world).pass()
    expect(await told(world)).toEqual([])
    // Another dies with alert and delivery written, right before the commit.
    let written = 0
    const dying = behind(world, /INSERT INTO billing_events/, async (tx) => {
      written = (await tx.query('SELECT FROM credit_alerts a JOIN webhook_deliveries d ON d.event_id = a.id')).rows
        .length
      throw new Error('killed')
    })
    expect(await toldNext(world, watcher(world, { transact: dying }))).toEqual([])
    expect([written, await deliveries(world)]).toEqual([1, []])
    expect(await toldNext(world)).toEqual(['ann 100%: 10.00 of 10.00, 0.00 left'])
    expect(await toldNext(world)).toEqual([])
    expect(await deliveries(world)).toHaveLength(1)
  })

  test('is told once though one process took so long over it that another one looked too', async () => {
    const world = await open(database, 'long', 'ann')
    await endpoint(world, 'credit', '{credit.threshold_reached}')
    await give(world, 'ann', '10.00')
    world.use('ann', 'context_tokens', '850', NOVEMBER)
    let [began, goOn] = [false, (): void => undefined]
    const held = new Promise<void>((resolve) => {
      goOn = resolve
    })
    const slow: UsageReader = {
      ...world.deps.usage,
      quantities: async (tenantId, before, requests) => {
        began = true
        await held
        return world.deps.usage.quantities(tenantId, before, requests)
      },
    }
    const { pass, metric } = watcher(world, { usage: slow })
    const passing = pass()
    await expect.poll(() => began).toBe(true)
    expect(await toldNext(world)).toHaveLength(2)
    world.use('ann', 'context_tokens', '150', NOVEMBER)
    goOn()
    await passing
    expect((await told(world)).slice(2)).toEqual(['ann 100%: 10.00 of 10.00, 0.00 left'])
    expect(await metric('billing_spend_alerts_total')).toMatch(/ 1$/)
    expect(await deliveries(world)).toHaveLength(3)
  })

  test('is told anew after the next grant, of the balance right behind that', async () => {
    const world = await open(database, 'refilled', 'ann')
    await give(world, 'ann', '10.00')
    world.use('ann', 'context_tokens', '850', NOVEMBER)
    expect(await toldNext(world)).toEqual(['ann 50%: 8.50 of 10.00, 1.50 left', 'ann 80%: 8.50 of 10.00, 1.50 left'])
    await give(world, 'ann', '6.00')
    expect(await toldNext(world)).toEqual(['ann 50%: 8.50 of 16.00, 7.50 left'])
    world.use('ann', 'context_tokens', '900', NOVEMBER)
    expect(await toldNext(world)).toEqual([
      'ann 80%: 17.50 of 16.00, -1.50 left',
      'ann 100%: 17.50 of 16.00, -1.50 left',
    ])
  })

  test('is not told again when thresholds change; levels not told yet are', async () => {
    const world = await open(database, 'changed', 'ann')
    await give(world, 'ann', '10.00')
    world.use('ann', 'context_tokens', '850', NOVEMBER)
    expect(await toldNext(world)).toHaveLength(2)
    await levels(world, 'ann', ['50%', '60%', '90%'], ['2.00', '1.00'])
    expect(await toldNext(world)).toEqual([
      'ann 60%: 8.50 of 10.00, 1.50 left',
      'ann 2.00 left: 8.50 of 10.00, 1.50 left',
    ])
    await levels(world, 'ann', [])
    world.use('ann', 'context_tokens', '150', NOVEMBER)
    expect(await toldNext(world)).toEqual([])
    await levels(world, 'ann', ['50%', '80%', '90%'])
    expect(await toldNext(world)).toEqual(['ann 90%: 10.00 of 10.00, 0.00 left'])
  })

  test('counts what expires as used, as soon as it has, whether or not it was taken off', async () => {
    const world = await open(database, 'expired', 'ann')
    await give(world, 'ann', '30.00', { expiresAtMs: world.clock.nowMs + DAY_MS })
    await give(world, 'ann', '9.00')
    world.clock.nowMs += DAY_MS - 2 * MINUTE_MS
    expect(await toldNext(world)).toEqual([])
    expect(await toldNext(world)).toEqual(['ann 50%: 30.00 of 39.00, 9.00 left'])
    world.clock.nowMs += HOUR_MS
    expect(await world.transact(world.tenantId, (tx) => expireCredit(tx, world))).toBe(1)
    expect(await available(world)).toBe('9.00 left')
  })
})
