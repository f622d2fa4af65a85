import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSubscription } from '../../../../invoicer/agreements/subscriptions/create-subscription.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, NOVEMBER } from '../../support/world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

test('of two overlapping subscriptions created at once the second waits for the first, and is refused', async () => {
  const world = await createWorld(database, 'overlap')
  await world.plan()
  await world.subscribe('a', { startMs: NOVEMBER - 60_000, endMs: NOVEMBER })
  const create = (externalKey: string, before: () => Promise<void> = async () => undefined) =>
    world.transact(world.tenantId, async (tx) => {
      const input = { externalKey, customer: 'a', planKey: 'llm', startMs: NOVEMBER, endMs: null }
      const { created } = await createSubscription(tx, input, world)
      await before()
      return created
    })
  let second: Promise<unknown> = Promise.resolve()
  const first = create('first', async () => {
    second = create('second').catch((error: unknown) => error)
    // Long enough for the second one to end, if it did not wait.
    await sleep(300)
  })
  expect(await first).toBe(true)
  expect(await second).toMatchObject({ code: 'conflict', message: expect.stringContaining('"first"') })
})
