import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { creditChores } from '../../../../invoicer/collection/credits/chores.ts'
import { tenantsWithExpiredCredit } from '../../../../invoicer/collection/credits/credits.postgres.ts'
import { grantCredit } from '../../../../invoicer/collection/credits/grant-credit.ts'
import { keepDoing } from '../../../../invoicer/collection/credits/keep-doing.ts'
import { readCreditUses } from '../../../../invoicer/collection/credits/read-credit.ts'
import { tenantsWithCreditToRenew } from '../../../../invoicer/collection/credits/renewals.postgres.ts'
import { manualGateway } from '../../../../invoicer/collection/payments/gateway.manual.ts'
import type { Transact } from '../../../../invoicer/transaction.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, NOW, type World } from '../../support/world.ts'

const MINUTE_MS = 60_000
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

async function worldWithCredit(slug: string): Promise<World> {
  const world = await createWorld(database, slug)
  await world.plan()
  await world.subscribe('a')
  const credit = { customer: 'a', name: null, amount: '5.00', priority: 0 }
  for (const [externalKey, expiresAtMs] of [
    ['short', NOW + MINUTE_MS],
    ['long', null],
  ] as const) {
    await world.transact(world.tenantId, (tx) => grantCredit(tx, { ...credit, externalKey, expiresAtMs }, world))
  }
  return world
}

const usesOf = async (world: World) => {
  const page = { after: null, limit: 10 }
  const { uses } = await world.transact(world.tenantId, (tx) => readCreditUses(tx, 'a', page))
  return uses.map(({ kind, amountMinor }) => `${kind} ${amountMinor}`)
}

test('a pass takes expired credit off in every tenant, and one whose pass fails holds up no other', async () => {
  const [one, two] = [await worldWithCredit('expiring-one'), await worldWithCredit('expiring-two')]
  const logger = { error: vi.fn() }
  let failing: number | undefined = one.tenantId
  let nowMs = NOW
  const now = () => nowMs
  const transact: Transact = (tenantId, work) =>
    tenantId === failing ? Promise.reject(new Error('away')) : one.transact(tenantId, work)
  const chores = creditChores({
    ...{ now, newId: one.newId, transact, gateway: manualGateway, tenantsToCharge: async () => [] },
    tenantsToRenew: (atMs) => tenantsWithCreditToRenew(database.pool, atMs),
    tenantsToExpire: (atMs) => tenantsWithExpiredCredit(database.pool, atMs),
  })
  const expiring = keepDoing(chores, { now, logger }, new AbortController().signal)
  await expiring.pass()
  expect([await usesOf(one), await usesOf(two)]).toEqual([[], []])
  nowMs += 10 * MINUTE_MS
  await expiring.pass()
  expect([await usesOf(one), await usesOf(two)]).toEqual([[], ['expired 500']])
  expect(logger.error.mock.calls).toEqual([
    [expect.objectContaining({ tenant_id: one.tenantId, event: 'credit_expiry_failed' }), expect.any(String)],
  ])
  failing = undefined
  await expiring.pass()
  await expiring.pass()
  expect([await usesOf(one), await usesOf(two)]).toEqual([['expired 500'], ['expired 500']])
  expect(await tenantsWithExpiredCredit(database.pool, nowMs)).toEqual([])
})
