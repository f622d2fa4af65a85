import { afterAll, beforeAll, expect, test } from 'vitest'
import { insertSubjects } from '../../../../invoicer/agreements/customers/customers.postgres.ts'
import { createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { listDrafts } from '../../../../invoicer/billing/review/drafts.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { billed, change, HOUR_MS, voidWorld } from '../../collection/voids/void-world.ts'
import { JANUARY, NOVEMBER } from '../../support/world.ts'
import { open, work } from './reviewed-world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

test('what takes the place of a void invoice is drafted with what waits, and the next period without that', async () => {
  const { world } = await voidWorld(database)
  await world.subscribe('a', { endMs: null })
  world.use('a-2', 'context_tokens', '7', NOVEMBER)
  const invoice = await billed(world)
  await world.transact(world.tenantId, (tx) => insertSubjects(tx, invoice.customer.id, ['a-2']))
  await change(world, invoice.id, 'reissue')
  const item = { externalKey: 'i', customer: 'a', subscription: null, description: 'I', currency: null, amount: '5.00' }
  await world.transact(world.tenantId, (tx) => createItem(tx, { ...item, quantity: null, unitAmount: null }, world))
  world.clock.nowMs = JANUARY + 2 * HOUR_MS
  const dry = await open(world, true)
  await work(world, dry)
  const filter = { onlyAnomalies: false, kind: null, currency: null }
  const drafts = await world.transact(world.tenantId, (tx) => listDrafts(tx, dry, filter, { limit: 99, after: null }))
  expect(
    drafts.map(({ periodStartMs, amountMinor, offCycle, previousMinor }) => {
      return [new Date(periodStartMs).getUTCMonth(), amountMinor, offCycle, previousMinor]
    }),
  ).toEqual([
    [10, 3_200n, true, null],
    [11, 2_000n, false, null],
  ])
  const runId = await world.run()
  const own = (await world.invoices()).filter(({ billingRunId }) => billingRunId === runId)
  expect(own.map(({ totalMinor }) => totalMinor).sort()).toEqual(drafts.map(({ amountMinor }) => amountMinor).sort())
})
