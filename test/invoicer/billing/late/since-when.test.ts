import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toSteps } from '../../../../invoicer/billing/late/late-steps.postgres.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import type { Progress } from '../../../../invoicer/billing/run/steps.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, type World } from '../../support/world.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** A run of 1 December has billed November. */
async function billed(): Promise<World> {
  worlds += 1
  const world = await createWorld(database, `late-since-${worlds}`)
  const price = { model: 'per_unit', unit_amount: '1' } as const
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price }] })
  await world.subscribe('a', { endMs: null })
  await runAt(world, DECEMBER + 2 * HOUR_MS)
  return world
}
const runAt = (world: World, atMs: number) => {
  world.clock.nowMs = atMs
  return world.run()
}
const inTenant = <T>(world: World, work: Parameters<typeof world.transact<T>>[1]) =>
  world.transact(world.tenantId, work)

describe('since when a run looks', () => {
  const forgetLook = (world: World, runId: string) =>
    inTenant(world, (tx) => tx.query('UPDATE billing_runs SET looked_at = NULL WHERE id = $1', [runId]))

  test('runs of versions that did not look covered nothing', async () => {
    const world = await billed()
    world.use('a', 'context_tokens', '20', NOVEMBER, DECEMBER + DAY_MS)
    const { usage } = world.deps
    world.deps.usage = { ...usage, changed: async () => [] }
    await forgetLook(world, await runAt(world, DECEMBER + 2 * DAY_MS))
    world.deps.usage = usage
    await runAt(world, DECEMBER + 3 * DAY_MS)
    const { rows } = await inTenant(world, (tx) => tx.query('SELECT amount_minor FROM usage_adjustments'))
    expect(rows).toEqual([{ amount_minor: '2000' }])
  })

  /** It used to hold every later look back for ever. */
  test('a run that is not completed holds back for what it billed, and no longer than that', async () => {
    const world = await billed()
    const { usage } = world.deps
    const looks: number[] = []
    world.deps.usage = {
      ...usage,
      changed: async (tenantId, changes) => {
        looks.push(changes.steps[0]!.knownFromMs)
        return usage.changed(tenantId, changes)
      },
    }
    world.clock.nowMs = DECEMBER + DAY_MS
    const { id } = await inTenant(world, (tx) => openRun(tx, { asOfMs: null }, world))
    await runAt(world, DECEMBER + 2 * DAY_MS)
    await runAt(world, DECEMBER + 3 * DAY_MS)
    expect(looks).toEqual([DECEMBER + 2 * HOUR_MS + 1, DECEMBER + 2 * DAY_MS + 1])
    const dieAt = (last: string) => {
      const dying: Progress = async (step) => {
        if (step === last) throw new Error('killed')
      }
      return expect(runBilling(world.deps, dying, world.tenantId, id)).rejects.toThrow('killed')
    }
    // It has billed nothing yet.
    await dieAt('rate')
    await runAt(world, DECEMBER + 4 * DAY_MS)
    expect(looks.at(-1)).toBe(DECEMBER + 3 * DAY_MS + 1)
    await world.subscribe('b')
    world.use('b', 'context_tokens', '7', NOVEMBER, DECEMBER + 2 * DAY_MS)
    world.clock.nowMs += HOUR_MS
    await dieAt('attempt')
    const totals = async () => (await world.invoices()).map(({ totalMinor }) => totalMinor)
    expect(await totals()).toEqual([0n, 0n])
    await runAt(world, DECEMBER + 5 * DAY_MS)
    expect(looks.at(-1)).toBe(DECEMBER + DAY_MS + 1)
    expect(await totals()).toEqual([0n, 0n, 700n])
    await runAt(world, DECEMBER + 6 * DAY_MS)
    await runAt(world, DECEMBER + 7 * DAY_MS)
    expect(looks.at(-1)).toBe(DECEMBER + 6 * DAY_MS + 1)
  })

  test('what was on time for the periods billed by then is not late, however far back the look begins', async () => {
    const world = await billed()
    const { id } = await inTenant(world, (tx) => openRun(tx, { asOfMs: null }, world))
    world.use('a', 'context_tokens', '5', DECEMBER + DAY_MS)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    // A version that did not look completed them all.
    await inTenant(world, (tx) => tx.query('UPDATE billing_runs SET looked_at = NULL WHERE id <> $1', [id]))
    const { usage } = world.deps
    const found: unknown[] = []
    const changed: typeof usage.changed = async (tenantId, changes) => {
      found.push(changes.steps, await usage.changed(tenantId, changes))
      return usage.changed(tenantId, changes)
    }
    world.deps.usage = { ...usage, changed }
    await runAt(world, JANUARY + 3 * HOUR_MS)
    const step = (atMs: number) => ({ knownFromMs: atMs + 1, happenedBeforeMs: atMs })
    expect(found).toEqual([[step(DECEMBER + 2 * HOUR_MS), step(JANUARY + 2 * HOUR_MS)], []])
  })

  /** The first run of this version used to look at all of history, which no statement could hold. */
  test('on a filled database looking begins with the last run of the version before', async () => {
    const world = await billed()
    const { id } = await inTenant(world, (tx) => openRun(tx, { asOfMs: null }, world))
    await inTenant(world, (tx) => tx.query('UPDATE billing_runs SET looked_at = NULL'))
    const migration = readFileSync('schemas/postgres/0021-late-usage.sql', 'utf8')
    const [backfill] = migration.match(/^UPDATE billing_runs .*;$/m) ?? []
    await inTenant(world, (tx) => tx.query(backfill!))
    const { rows } = await inTenant(world, (tx) =>
      tx.query('SELECT id = $1 AS open, looked_at = completed_at AS looked FROM billing_runs ORDER BY 1', [id]),
    )
    expect(rows).toEqual([
      { open: false, looked: true },
      { open: true, looked: null },
    ])
  })

  test('too many steps become fewer by taking the oldest together, which loses nothing', () => {
    const steps = [
      [1, 10],
      [2, 9],
      [3, 30],
      [4, 30],
      [5, 50],
      [6, 60],
    ].map(([knownFromMs, happenedBeforeMs]) => ({ knownFromMs: knownFromMs!, happenedBeforeMs: happenedBeforeMs! }))
    const pairs = (most: number) => toSteps(steps, most).map((one) => [one.knownFromMs, one.happenedBeforeMs])
    const all = [
      [1, 10],
      [3, 30],
      [5, 50],
      [6, 60],
    ]
    expect(pairs(9)).toEqual(all)
    expect(pairs(4)).toEqual(all)
    expect(pairs(3)).toEqual([[1, 30], ...all.slice(2)])
    expect(pairs(1)).toEqual([[1, 60]])
    expect(toSteps([], 3)).toEqual([])
  })
})
