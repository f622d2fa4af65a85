import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { type KeeperDeps, keepRuns } from '../../../../invoicer/billing/run/keep-runs.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, NOVEMBER, type World } from '../../support/world.ts'

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
  const deps: KeeperDeps = { ...keeperDeps(world), usage: { ...usage, identityTotals } }
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

/** It used to wait for ever: no period came due any more. */
test('what waits for contracts that have ended is billed by a tick, and what came late for them once a day', async () => {
  const world = await createWorld(database, 'ticks-ended')
  await world.plan({
    charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price: { model: 'per_unit', unit_amount: '1' } }],
  })
  await world.subscribe('a')
  const keeper = keepRuns(keeperDeps(world), new AbortController().signal)
  const tick = async (afterHours: number) => {
    world.clock.nowMs += afterHours * 3_600_000
    await keeper.tick()
    return (await world.invoices()).map(({ totalMinor }) => totalMinor)
  }
  expect(await tick(0)).toEqual([0n])
  const item = { externalKey: 'setup', customer: null, subscription: 'a', description: 'Setup', amount: '5.00' }
  await world.transact(world.tenantId, (tx) =>
    createItem(tx, { ...item, currency: null, quantity: null, unitAmount: null }, world),
  )
  expect(await tick(1)).toEqual([0n, 500n])
  world.use('a', 'context_tokens', '7', NOVEMBER, world.clock.nowMs + 1)
  expect(await tick(1)).toEqual([0n, 500n])
  expect(await tick(24)).toEqual([0n, 500n, 700n])
  const { rows } = await world.transact(world.tenantId, (tx) => tx.query('SELECT FROM billing_runs'))
  expect(rows).toHaveLength(3)
})

/** It used to open a run at every tick, for ever. */
test('what waits and cannot be invoiced opens a run a day, and one more when something else comes', async () => {
  const world = await createWorld(database, 'ticks-stuck')
  await world.plan()
  for (const name of ['a', 'b']) await world.subscribe(name)
  const keeper = keepRuns(keeperDeps(world), new AbortController().signal)
  const inTenant = <T>(work: Parameters<typeof world.transact<T>>[1]) => world.transact(world.tenantId, work)
  const tick = async (afterHours: number) => {
    world.clock.nowMs += afterHours * 3_600_000
    await keeper.tick()
    return (await inTenant((tx) => tx.query('SELECT FROM billing_runs'))).rows.length
  }
  const item = async (subscription: string, amount: string) => {
    world.clock.nowMs += 1
    const said = { externalKey: subscription, customer: null, subscription, description: 'Setup', amount }
    await inTenant((tx) => createItem(tx, { ...said, currency: null, quantity: null, unitAmount: null }, world))
  }
  expect(await tick(0)).toBe(1)
  // A balance to which nothing can be added.
  await inTenant((tx) =>
    tx.query(
      `INSERT INTO customer_balances (tenant_id, customer_id, currency, balance_minor)
       SELECT app_tenant(), id, 'USD', 9223372036854775807 FROM customers WHERE external_key = 'a'`,
    ),
  )
  await item('a', '-5.00')
  expect([await tick(1), await tick(1), await tick(1)]).toEqual([2, 2, 2])
  await item('b', '5.00')
  expect([await tick(1), await tick(1)]).toEqual([3, 3])
  expect((await world.invoices()).filter(({ totalMinor }) => totalMinor === 500n)).toHaveLength(1)
  expect([await tick(23), await tick(1)]).toEqual([4, 4])
})

const keeperDeps = (world: World): KeeperDeps => ({
  ...world.deps,
  progressOf: (tenantId: number, runId: string) => progressInPostgres(world.transact, tenantId, runId),
  tenantIds: async () => [world.tenantId],
  logger: { error: vi.fn() },
})
