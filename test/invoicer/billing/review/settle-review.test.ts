import { afterAll, beforeAll, expect, test } from 'vitest'
import { changeSettings } from '../../../../invoicer/billing/review/change-settings.ts'
import { listDrafts } from '../../../../invoicer/billing/review/drafts.postgres.ts'
import { findSettings } from '../../../../invoicer/billing/review/settings.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY } from '../../support/world.ts'
import { DAY_MS, open, untilSomebodyWaits, work } from './reviewed-world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

test('of two changes of the settings at once both are kept', async () => {
  const world = await createWorld(database, 'settings-two')
  const change = (...[what, behind]: [Parameters<typeof changeSettings>[1], () => Promise<void>]) =>
    world.transact(world.tenantId, async (tx) => {
      await changeSettings(tx, what, 'key', world)
      await behind()
    })
  let other: Promise<void> | undefined
  await change({ approval: 'always' }, async () => {
    other = change({ rules: { zero: false } }, async () => {})
    await untilSomebodyWaits(database)
  })
  await other
  const kept = await world.transact(world.tenantId, findSettings)
  expect(kept).toMatchObject({ approval: 'always', rules: { zero: false, parked: true } })
})

test('a run that drafts nothing waits for nobody, though all runs are to be approved', async () => {
  const world = await createWorld(database, 'nothing-drafted')
  await world.transact(world.tenantId, (tx) => changeSettings(tx, { approval: 'always' }, 'key', world))
  await expect(work(world, await open(world))).resolves.toBe('completed')
})

test('the first fees in advance are a first invoice, and those behind an invoice are not', async () => {
  const world = await createWorld(database, 'first-fees')
  const fee = { key: 'fee', name: 'Fee', meter: null, price: { model: 'flat', amount: '20000' } } as const
  await world.plan({ key: 'yearly', fees: 'in_advance', charges: [fee] })
  const drafted = async () => {
    const id = await open(world, true)
    await work(world, id)
    const filter = { onlyAnomalies: false, kind: null, currency: null }
    const drafts = await world.transact(world.tenantId, (tx) => listDrafts(tx, id, filter, { limit: 99, after: null }))
    return drafts.map(({ offCycle, anomalies }) => ({ offCycle, anomalies }))
  }
  world.clock.nowMs = DECEMBER + DAY_MS
  await world.subscribe('a', { plan: 'yearly', startMs: DECEMBER, endMs: null })
  expect(await drafted()).toEqual([{ offCycle: true, anomalies: ['first_invoice_above'] }])
  await world.run()
  world.clock.nowMs = JANUARY + DAY_MS
  expect(await drafted()).toEqual([{ offCycle: false, anomalies: ['first_invoice_above'] }])
  await world.run()
  world.clock.nowMs = Date.UTC(2024, 1, 2)
  expect(await drafted()).toEqual([{ offCycle: false, anomalies: [] }])
})
