import { afterAll, beforeAll, expect, test } from 'vitest'
import { readSubscriptions } from '../../../ingest/entitlements/entitlements.postgres.ts'
import { cancelSubscription } from '../../../invoicer/agreements/subscriptions/cancel-subscription.ts'
import { createWorld, DECEMBER, NOVEMBER } from '../../invoicer/support/world.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Decision 0034: quotas of a billing period go by the whole cadence of the plan. */
test('a subscription is read with the cadence of its version of the plan', async () => {
  const world = await createWorld(database, 'cadence')
  await world.plan({ interval: 'half_year', every: 3 })
  await world.subscribe('a', { endMs: null })
  const [read] = await world.transact(world.tenantId, (tx) => readSubscriptions(tx, new Date(DECEMBER)))
  expect(read?.schedule).toMatchObject({ interval: 'half_year', every: 3 })
})

/** Decision 0028: a cancelled subscription goes on until its end, and so does what its plan grants. */
test('what a plan grants holds until the end of a cancelled subscription, and not behind it', async () => {
  const world = await createWorld(database, 'entitled')
  await world.plan()
  world.clock.nowMs = NOVEMBER + 86_400_000
  await world.subscribe('a', { endMs: null })
  const plansAt = (atMs: number) =>
    world.transact(world.tenantId, async (tx) =>
      (await readSubscriptions(tx, new Date(atMs))).map(({ plan, schedule }) => [plan, schedule.endMs]),
    )
  expect([await plansAt(NOVEMBER - 1), await plansAt(DECEMBER)]).toEqual([[], [['llm', null]]])
  await world.transact(world.tenantId, (tx) => cancelSubscription(tx, 'a', 'period_end', world))
  expect(await plansAt(world.clock.nowMs)).toEqual([['llm', DECEMBER]])
  expect(await plansAt(DECEMBER - 1)).toEqual([['llm', DECEMBER]])
  expect(await plansAt(DECEMBER)).toEqual([])
})
