import { afterAll, beforeAll, expect, test } from 'vitest'
import { organizationOfUser } from '../../../ingest/billing-view/organization.postgres.ts'
import { readSubscriptions } from '../../../ingest/entitlements/entitlements.postgres.ts'
import { createSubscription } from '../../../invoicer/agreements/subscriptions/create-subscription.ts'
import { checkPlanPrice } from '../../../invoicer/billing/rating/price-shape.ts'
import { createWorld, DECEMBER, NOVEMBER } from '../../invoicer/support/world.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Decision 0046: what was negotiated are prices; what may be used is what the plan of the catalogue grants. */
test('who has prices of their own is read as on the plan that they are derived from', async () => {
  const world = await createWorld(database, 'negotiated')
  await world.plan()
  await world.subscribe('b')
  const overrides = { charges: { base: null } }
  const terms = {
    externalKey: 'a',
    customer: 'b',
    planKey: 'llm',
    startMs: DECEMBER,
    endMs: null,
    agreed: { overrides },
  }
  await world.transact(world.tenantId, (tx) => createSubscription(tx, terms, { ...world, checkPrice: checkPlanPrice }))
  const plansAt = (atMs: number) =>
    world.transact(world.tenantId, async (tx) =>
      (await readSubscriptions(tx, new Date(atMs))).map(({ plan, schedule }) => [plan, schedule.startMs]),
    )
  expect([await plansAt(NOVEMBER), await plansAt(DECEMBER)]).toEqual([[['llm', NOVEMBER]], [['llm', DECEMBER]]])
  const shown = await world.transact(world.tenantId, (tx) => organizationOfUser(tx, 'b', new Date(DECEMBER)))
  expect(shown?.subscriptions.map(({ plan }) => plan)).toContain('llm')
})
