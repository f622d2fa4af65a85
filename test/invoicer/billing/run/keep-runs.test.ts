import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type KeeperDeps, keepRuns } from '../../../../invoicer/billing/run/keep-runs.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld } from '../../support/world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

test('a run that fails at every tick is told of once for each reason; no tick but one a day opens another', async () => {
  const world = await createWorld(database, 'ticks')
  await world.plan()
  await world.subscribe('a')
  const { usage } = world.deps
  let reason = 'The usage store is away.'
  const shown: unknown[] = []
  const identityTotals = async () => {
    const { rows } = await world.transact(world.tenantId, (tx) =>
      tx.query<{ id: string }>('SELECT id FROM billing_runs'),
    )
    const { state, error } = await world.transact(world.tenantId, (tx) => readRun(tx, rows[0]!.id))
    shown.push([state, error])
    throw new Problem('unavailable', reason)
  }
  const deps: KeeperDeps = {
    ...world.deps,
    usage: { ...usage, identityTotals },
    progressOf: (tenantId: number, runId: string) => progressInPostgres(world.transact, tenantId, runId),
    tenantIds: async () => [world.tenantId],
    logger: { error: vi.fn() },
  }
  const keeper = keepRuns(deps, new AbortController().signal)
  const told = async () =>
    (
      await world.transact(world.tenantId, (tx) =>
        tx.query(
          "SELECT data ->> 'reason' AS reason FROM billing_events WHERE event = 'billing_run.failed' ORDER BY id",
        ),
      )
    ).rows.map((row) => row.reason)
  const runs = async () =>
    (await world.transact(world.tenantId, (tx) => tx.query('SELECT state, error FROM billing_runs'))).rows
  for (let tick = 0; tick < 3; tick += 1) await keeper.tick()
  expect(await told()).toEqual(['The usage store is away.'])
  expect(await runs()).toEqual([{ state: 'failed', error: 'The usage store is away.' }])
  expect(shown).toEqual(Array(3).fill(['running', null]))
  reason = 'Something else.'
  await keeper.tick()
  await keeper.tick()
  expect(await told()).toEqual(['The usage store is away.', 'Something else.'])

  world.clock.nowMs += 24 * 3_600_000
  await keeper.tick()
  expect(await runs()).toHaveLength(2)
  deps.usage.identityTotals = usage.identityTotals
  await keeper.tick()
  expect(await runs()).toEqual(Array(2).fill({ state: 'completed', error: null }))
  expect(await world.invoices()).toHaveLength(1)
})
