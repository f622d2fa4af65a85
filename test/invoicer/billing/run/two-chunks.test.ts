import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSubscription } from '../../../../invoicer/agreements/subscriptions/create-subscription.ts'
import { createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { grantCredit } from '../../../../invoicer/collection/credits/grant-credit.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, NOVEMBER, type World } from '../../support/world.ts'

const NEVER_MET_MS = 20_000
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** `a` has four subscriptions of 20.00 a month, each in a chunk of its own, and 10.00 of prepaid credit. */
async function open(): Promise<World> {
  worlds += 1
  const world = await createWorld(database, `two-chunks-${worlds}`)
  world.deps.chunkSize = 1
  const price = { model: 'flat', amount: '20.00' } as const
  await world.plan({ charges: [{ key: 'base', name: 'Base', meter: null, price }] })
  await world.subscribe('a')
  for (const externalKey of ['b', 'c', 'd']) {
    const terms = { externalKey, customer: 'a', planKey: 'llm', startMs: NOVEMBER, endMs: DECEMBER }
    await world.transact(world.tenantId, (tx) => createSubscription(tx, terms, world))
  }
  const credit = { externalKey: 'one', customer: 'a', name: null, amount: '10.00', priority: 0, expiresAtMs: null }
  await world.transact(world.tenantId, (tx) => grantCredit(tx, credit, world))
  return world
}

/** Whoever comes first waits for the second. */
function meeting(): () => Promise<void> {
  let arrived = 0
  let meet = () => {}
  const met = new Promise<void>((done) => (meet = done))
  return async () => {
    arrived += 1
    if (arrived === 2) meet()
    const alone = setTimeout(() => meet(), NEVER_MET_MS)
    await met
    clearTimeout(alone)
    if (arrived === 1) throw new Error('no other chunk is issued at the same time')
  }
}

const amounts = async (world: World, of: 'totalMinor' | 'creditMinor' | 'amountDueMinor') => {
  const invoices = await world.invoices()
  return formatMoney(
    invoices.reduce((sum, invoice) => sum + invoice[of], 0n),
    'USD',
  )
}
const numbers = async (world: World) => (await world.invoices()).map(({ number }) => number).sort()
const ALL = ['INV-000001', 'INV-000002', 'INV-000003', 'INV-000004']

describe('two chunks of a run are issued at the same time', () => {
  test('and draw the credit of one customer once between them', async () => {
    const world = await open()
    const { drawCredit } = world.deps
    const met = meeting()
    world.deps.drawCredit = async (...args) => {
      await met()
      return drawCredit(...args)
    }
    await world.run()
    expect(await numbers(world)).toEqual(ALL)
    expect([await amounts(world, 'creditMinor'), await amounts(world, 'amountDueMinor')]).toEqual(['10.00', '70.00'])
  })

  test('and what waited for one of them is on one of them', async () => {
    const world = await open()
    const none = { subscription: null, currency: null, quantity: null, unitAmount: null }
    const item = { externalKey: 'setup', customer: 'a', description: 'Setup', amount: '5.00', ...none }
    await world.transact(world.tenantId, (tx) => createItem(tx, item, world))
    await world.run()
    expect(await numbers(world)).toEqual(ALL)
    expect([await amounts(world, 'totalMinor'), await amounts(world, 'creditMinor')]).toEqual(['85.00', '10.00'])
  })

  test('one that fails fails the run behind the other, no third is begun, and the next run bills the rest', async () => {
    const world = await open()
    const { drawCredit, transact } = world.deps
    const met = meeting()
    let rolledBack = () => {}
    const isRolledBack = new Promise<void>((done) => {
      rolledBack = done
    })
    world.deps.transact = (tenantId, work) =>
      transact(tenantId, work).catch((error: unknown) => {
        rolledBack()
        throw error
      })
    let calls = 0
    world.deps.drawCredit = async (...args) => {
      calls += 1
      const isFirst = calls === 1
      await met()
      if (isFirst) throw new Error('the first fails')
      // Else it might be through before the first has failed, and a third be begun with right.
      await isRolledBack
      return drawCredit(...args)
    }
    await expect(world.run()).rejects.toThrow('the first fails')
    expect(calls).toBe(2)
    expect(await world.invoices()).toHaveLength(1)
    Object.assign(world.deps, { drawCredit, transact })
    await world.run()
    expect(await numbers(world)).toEqual(ALL)
    expect([await amounts(world, 'totalMinor'), await amounts(world, 'creditMinor')]).toEqual(['80.00', '10.00'])
  })
})
