import { afterAll, beforeAll, expect, test } from 'vitest'
import { organizationOfUser } from '../../../ingest/billing-view/organization.postgres.ts'
import { currentPeriod } from '../../../ingest/billing-view/organization.ts'
import { readSubscriptions } from '../../../ingest/entitlements/entitlements.postgres.ts'
import { cancelSubscription } from '../../../invoicer/agreements/subscriptions/cancel-subscription.ts'
import { changeSubscription } from '../../../invoicer/agreements/subscriptions/change-subscription.ts'
import { isDowngrade } from '../../../invoicer/billing/is-downgrade.ts'
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

/** Decision 0038: another interval begins a new period at the change, for quotas of a billing period too. */
test('behind a change of interval periods recur from the change on', async () => {
  const world = await createWorld(database, 'anew')
  await world.plan()
  await world.plan({ key: 'weekly', interval: 'week', alignment: 'anniversary' })
  world.clock.nowMs = NOVEMBER + 10 * 86_400_000
  const id = await world.subscribe('a', { endMs: null })
  await world.transact(world.tenantId, (tx) =>
    changeSubscription(tx, id, { plan: 'weekly', when: 'now' }, null, { ...world, isDowngrade }),
  )
  const scheduleAt = (atMs: number) =>
    world.transact(world.tenantId, async (tx) => (await readSubscriptions(tx, new Date(atMs)))[0]?.schedule)
  expect(await scheduleAt(world.clock.nowMs - 1)).toMatchObject({ startMs: NOVEMBER, interval: 'month' })
  expect(await scheduleAt(DECEMBER)).toMatchObject({ startMs: world.clock.nowMs, interval: 'week' })
  const shown = await world.transact(world.tenantId, (tx) => organizationOfUser(tx, 'a', new Date(DECEMBER)))
  const [subscription] = shown!.subscriptions
  expect(subscription).toMatchObject({ startMs: NOVEMBER, anchorMs: world.clock.nowMs })
  const startMs = world.clock.nowMs + 14 * 86_400_000
  expect(currentPeriod(subscription!, 'UTC', startMs + 1)).toMatchObject({ startMs, endMs: startMs + 7 * 86_400_000 })
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

/** Decision 0045: what an add-on grants holds while it is attached, in the periods of the plan that it is beside. */
test('an add-on is read behind the plan that it is beside', async () => {
  const world = await createWorld(database, 'added')
  await world.plan()
  const fee = { key: 'fee', name: 'Fee', meter: null, price: { model: 'flat' as const, amount: '5.00' } }
  await world.plan({ key: 'support', kind: 'add_on', alignment: 'anniversary', charges: [fee] })
  world.clock.nowMs = NOVEMBER + 86_400_000
  const id = await world.subscribe('a', { endMs: null })
  const attached = (addOns: { plan: string; quantity: string }[]) =>
    world.transact(world.tenantId, (tx) =>
      changeSubscription(tx, id, { addOns, when: null }, null, { ...world, isDowngrade }),
    )
  await attached([{ plan: 'support', quantity: '2' }])
  await attached([])
  const plansAt = (atMs: number) =>
    world.transact(world.tenantId, async (tx) =>
      (await readSubscriptions(tx, new Date(atMs))).map(({ plan, schedule }) => [plan, schedule.alignment]),
    )
  expect(await plansAt(world.clock.nowMs - 1)).toEqual([['llm', 'calendar']])
  expect(await plansAt(DECEMBER - 1)).toEqual([
    ['llm', 'calendar'],
    ['support', 'calendar'],
  ])
  expect(await plansAt(DECEMBER)).toEqual([['llm', 'calendar']])
})
