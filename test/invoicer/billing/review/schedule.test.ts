import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { approveRun } from '../../../../invoicer/billing/review/approve-run.ts'
import { cancelRun } from '../../../../invoicer/billing/review/cancel-run.ts'
import { changeSettings } from '../../../../invoicer/billing/review/change-settings.ts'
import { collectCancelled } from '../../../../invoicer/billing/review/collect-cancelled.ts'
import { keepRuns, type RunKeeper } from '../../../../invoicer/billing/run/keep-runs.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { listUnfinishedRuns, progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import type { Progress } from '../../../../invoicer/billing/run/steps.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import type { World } from '../../support/world.ts'
import { billed, DAY_MS, open, secondMonth } from './reviewed-world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const keeperOf = (world: World, wrap: (write: Progress, runId: string) => Progress = (write) => write) =>
  keepRuns(
    {
      ...world.deps,
      progressOf: (tenantId, runId) => wrap(progressInPostgres(world.transact, tenantId, runId), runId),
      tenantIds: async () => [world.tenantId],
      logger: { error: vi.fn() },
    },
    new AbortController().signal,
  )
const runsOf = async (world: World) =>
  (
    await world.transact(world.tenantId, (tx) =>
      tx.query<{ id: string; state: string }>('SELECT id, state FROM billing_runs WHERE NOT dry_run ORDER BY id'),
    )
  ).rows
const statesOf = async (world: World) => (await runsOf(world)).map(({ state }) => state)
const inTenant = <T>(world: World, act: (tx: TenantTransaction) => Promise<T>) => world.transact(world.tenantId, act)

test('runs of the schedule wait for approval too, one at a time, for as long as it takes', async () => {
  const world = await secondMonth(database, 'schedule-waits')
  await inTenant(world, (tx) => changeSettings(tx, { approval: 'on_anomaly' }, 'key', world))
  const [before, keeper] = [await billed(world), keeperOf(world)]
  for (let tick = 0; tick < 3; tick += 1) {
    await keeper.tick()
    world.clock.nowMs += DAY_MS
  }
  expect(await statesOf(world)).toEqual(['completed', 'awaiting_approval'])
  expect(await billed(world)).toEqual(before)
  const waiting = (await runsOf(world))[1]!
  await inTenant(world, (tx) => approveRun(tx, waiting.id, 'key', world))
  // Whoever approved may have died behind that: the next tick goes on with it.
  await keeper.tick()
  expect((await statesOf(world)).slice(0, 2)).toEqual(['completed', 'completed'])
  expect((await billed(world)).length).toBe(before.length + 5)
})

/** What was wrong used to be billed within the hour. */
test('behind a run that was cancelled no tick opens another, until somebody has started one', async () => {
  const world = await secondMonth(database, 'schedule-cancelled')
  await inTenant(world, (tx) => changeSettings(tx, { approval: 'always' }, 'key', world))
  const [before, keeper] = [await billed(world), keeperOf(world)]
  await keeper.tick()
  const waiting = (await runsOf(world))[1]!
  await inTenant(world, (tx) => cancelRun(tx, waiting.id, 'key', world))
  await inTenant(world, (tx) => changeSettings(tx, { approval: 'never' }, 'key', world))
  for (let day = 0; day < 3; day += 1) {
    world.clock.nowMs += DAY_MS
    await open(world, true)
    await keeper.tick()
  }
  await keeper.stop()
  expect(await statesOf(world)).toEqual(['completed', 'cancelled'])
  expect(await billed(world)).toEqual(before)
  await world.run()
  expect((await billed(world)).length).toBe(before.length + 5)
  world.clock.nowMs = Date.UTC(2024, 1, 2)
  await keeper.tick()
  expect(await statesOf(world)).toEqual(['completed', 'cancelled', 'completed', 'completed'])
})

test('two processes that tick at once open one run', async () => {
  const world = await secondMonth(database, 'schedule-two')
  await inTenant(world, (tx) => changeSettings(tx, { approval: 'always' }, 'key', world))
  await Promise.all([keeperOf(world).tick(), keeperOf(world).tick(), keeperOf(world).tick()])
  expect(await statesOf(world)).toEqual(['completed', 'awaiting_approval'])
})

test('what is asked of a run while its runner is on its way out is done behind that', async () => {
  const world = await secondMonth(database, 'schedule-asked')
  const id = await open(world)
  let asked = false
  const keeper: RunKeeper = keeperOf(world, (write) => async (step) => {
    await write(step)
    if (step !== 'complete' || asked) return
    asked = true
    await inTenant(world, (tx) => cancelRun(tx, id, 'key', world))
    await inTenant(world, (tx) => collectCancelled(tx, id, 'key', world))
    void keeper.continueRun(world.tenantId, id)
  })
  await keeper.continueRun(world.tenantId, id)
  expect(asked).toBe(true)
  expect(await inTenant(world, listUnfinishedRuns)).toEqual([])
})

test('a tick bills without waiting for a dry run', async () => {
  const world = await secondMonth(database, 'schedule-beside')
  const before = (await billed(world)).length
  const dryId = await open(world, true)
  let letGo = () => {}
  const held = new Promise<void>((resolve) => {
    letGo = resolve
  })
  const keeper = keeperOf(world, (write, runId) => async (step) => {
    await write(step)
    if (runId === dryId) await held
  })
  await keeper.tick()
  expect((await billed(world)).length).toBe(before + 5)
  expect((await inTenant(world, (tx) => readRun(tx, dryId))).state).toBe('running')
  letGo()
  await keeper.stop()
  expect((await inTenant(world, (tx) => readRun(tx, dryId))).state).toBe('completed')
})

test('a dry run that cannot be finished keeps no other run from being opened', async () => {
  const world = await secondMonth(database, 'schedule-dry')
  const before = (await billed(world)).length
  await open(world, true)
  // Nor does one that tries again what was parked, and waits for its approval.
  await inTenant(world, (tx) =>
    tx.query(
      `INSERT INTO billing_runs (tenant_id, id, state, step, as_of, known_before, seal_id, opened_at, retries_run, review_part)
       SELECT tenant_id, $1, 'awaiting_approval', 'review', as_of, known_before, $2, opened_at, id, 'done'
       FROM billing_runs WHERE state = 'completed'`,
      [world.newId(), world.newId()],
    ),
  )
  const { usage } = world.deps
  const deps = keeperOf(world)
  world.deps.usage = { ...usage, quantities: () => Promise.reject(new Error('away')) }
  const failing = keeperOf(world)
  await failing.tick()
  await failing.stop()
  world.deps.usage = usage
  await deps.tick()
  expect((await billed(world)).length).toBe(before + 5)
  await deps.stop()
})
