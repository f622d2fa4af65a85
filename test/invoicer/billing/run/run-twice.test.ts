import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { listUnfinishedRuns, progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import { type Progress, RUN_STEPS, type RunStep } from '../../../../invoicer/billing/run/steps.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, summary, TOO_MUCH, type World } from '../../support/world.ts'

const HOUR_MS = 3_600_000
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
let database: TestDatabase
let tenants = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Seven subscriptions of two months each, in chunks of three; one is billed nothing, one cannot be billed. */
async function busyWorld(): Promise<World> {
  tenants += 1
  const world = await createWorld(database, `twice-${tenants}`)
  await world.plan()
  const price = { model: 'flat', amount: '0' } as const
  await world.plan({ key: 'free', charges: [{ key: 'base', name: 'Base', meter: null, price }] })
  for (const [index, name] of NAMES.entries()) {
    await world.subscribe(name, { endMs: JANUARY, plan: name === 'c' ? 'free' : 'llm' })
    world.use(name, 'context_tokens', String(1_000_000 * (index + 1)), NOVEMBER)
    world.use(name, 'generated_tokens', '150000', DECEMBER)
  }
  world.use('f', 'context_tokens', TOO_MUCH, NOVEMBER)
  return world
}

const EXPECTED = [
  'a 2023-11-01: 20.00 + 3.00 + 0.00 = 23.00 paid',
  'a 2023-12-01: 20.00 + 0.00 + 2.10 = 22.10 paid',
  'b 2023-11-01: 20.00 + 6.00 + 0.00 = 26.00 paid',
  'b 2023-12-01: 20.00 + 0.00 + 2.10 = 22.10 paid',
  'c 2023-11-01: 0.00 = 0.00 paid',
  'c 2023-12-01: 0.00 = 0.00 paid',
  'd 2023-11-01: 20.00 + 12.00 + 0.00 = 32.00 paid',
  'd 2023-12-01: 20.00 + 0.00 + 2.10 = 22.10 paid',
  'e 2023-11-01: 20.00 + 15.00 + 0.00 = 35.00 paid',
  'e 2023-12-01: 20.00 + 0.00 + 2.10 = 22.10 paid',
  'g 2023-11-01: 20.00 + 21.00 + 0.00 = 41.00 paid',
  'g 2023-12-01: 20.00 + 0.00 + 2.10 = 22.10 paid',
]

/** Every invoice once, numbers 1 to n, one successful payment for each that owes, one row of everything it tells. */
async function expectBilledOnce(world: World): Promise<void> {
  const invoices = await world.invoices()
  expect(summary(invoices).sort()).toEqual(EXPECTED)
  expect(invoices.map(({ number }) => number).sort()).toEqual(
    EXPECTED.map((_, index) => `INV-${String(index + 1).padStart(6, '0')}`),
  )
  const count = (sql: string) =>
    world.transact(world.tenantId, async (tx) => Number((await tx.query<{ n: string }>(sql)).rows[0]!.n))
  expect(await count('SELECT count(*) AS n FROM payments')).toBe(10)
  expect(await count("SELECT count(DISTINCT invoice_id) AS n FROM payments WHERE state = 'succeeded'")).toBe(10)
  expect(new Set(world.charged.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(10)
  expect(await count('SELECT last_number AS n FROM invoice_numbers')).toBe(12)
  expect(await count('SELECT count(*) AS n FROM invoice_lines')).toBe(32)
  expect(await count('SELECT count(*) AS n FROM billed_usage')).toBe(20)
  expect(await count(published('invoice.finalised'))).toBe(12)
  expect(await count(published('invoice.paid'))).toBe(12)
  expect(await count("SELECT count(*) AS n FROM billing_events WHERE event = 'payment.succeeded'")).toBe(10)
  expect(await count("SELECT count(*) AS n FROM billing_events WHERE event = 'invoice.paid'")).toBe(12)
}

const published = (event: string) =>
  `SELECT count(*) AS n FROM outbox o JOIN billing_events e ON e.id = o.event_id WHERE e.event = '${event}'`

const open = (world: World) =>
  world.transact(world.tenantId, async (tx) => (await openRun(tx, { asOfMs: null }, world)).id)

const work = (world: World, runId: string, wrap: (write: Progress) => Progress = (write) => write) =>
  runBilling({ ...world.deps }, wrap(progressInPostgres(world.transact, world.tenantId, runId)), world.tenantId, runId)

describe('a billing run is idempotent, and safe to retry or to start twice (EPIC-3)', () => {
  test('running twice adds nothing', async () => {
    const world = await busyWorld()
    await world.run()
    await expectBilledOnce(world)
    await world.run()
    await expectBilledOnce(world)
    const finished = await world.run()
    await work(world, finished)
    await expectBilledOnce(world)
  })

  test('four runners of one run at once make each invoice once', async () => {
    const world = await busyWorld()
    const runId = await open(world)
    await Promise.all([1, 2, 3, 4].map(() => work(world, runId)))
    await expectBilledOnce(world)
  })

  test('four runs at once make each invoice once', async () => {
    const world = await busyWorld()
    await Promise.all([1, 2, 3, 4].map(() => world.run()))
    await expectBilledOnce(world)
  })

  test('runs of different tenants at once do not meet', async () => {
    const [one, two] = [await busyWorld(), await busyWorld()]
    await Promise.all([one.run(), two.run()])
    await expectBilledOnce(one)
    await expectBilledOnce(two)
  })

  test('a run tells its steps in the order of the exported list', async () => {
    const world = await busyWorld()
    const told: RunStep[] = []
    await world.run(undefined, (write) => async (step) => {
      told.push(step)
      await write(step)
    })
    expect([...new Set(told)]).toEqual([...RUN_STEPS])
  })
})

describe('a run that dies is continued to the same invoices', () => {
  const occurrences = (step: RunStep) =>
    ['rate', 'issue', 'attempt', 'charge', 'settle'].includes(step) ? [1, 2] : [1]
  const crashes = RUN_STEPS.flatMap((step) => occurrences(step).map((time) => ({ step, time })))

  test.each(crashes)('as step $step begins, time $time', async ({ step, time }) => {
    const world = await busyWorld()
    const runId = await open(world)
    let reached = 0
    const dying = (write: Progress): Progress => {
      return async (begun) => {
        await write(begun)
        if (begun === step) reached += 1
        if (begun === step && reached === time) throw new Error('killed')
      }
    }
    await expect(work(world, runId, dying)).rejects.toThrow('killed')
    expect(reached).toBe(time)
    const left = await world.transact(world.tenantId, (tx) => readRun(tx, runId))
    expect(left).toMatchObject({ state: 'running', step })
    expect(await world.transact(world.tenantId, listUnfinishedRuns)).toEqual([runId])
    await expect(work(world, runId)).resolves.toBe('completed')
    await expectBilledOnce(world)
    const report = await world.transact(world.tenantId, (tx) => readRun(tx, runId))
    expect(report).toMatchObject({ state: 'completed', subscriptionsDue: 7, invoicesCreated: 12, error: null })
    expect(report.parked).toHaveLength(1)
  })
})

describe('a subscription that somebody else moves on while it is rated', () => {
  test('with its first period billed by another run is looked at again for the rest, by this run', async () => {
    const world = await busyWorld()
    const { usage } = world.deps
    let asked = false
    world.deps.usage = {
      ...usage,
      quantities: async (...question) => {
        if (!asked) {
          asked = true
          await world.run(DECEMBER + 2 * HOUR_MS)
        }
        return usage.quantities(...question)
      },
    }
    const runId = await world.run()
    await expectBilledOnce(world)
    const report = await world.transact(world.tenantId, (tx) => readRun(tx, runId))
    expect(report).toMatchObject({ state: 'completed', invoicesCreated: 6 })
  })

  test('with a place that is billed already is parked by the unique keys, and the others are billed', async () => {
    const world = await busyWorld()
    await world.run(DECEMBER + 2 * HOUR_MS)
    await world.transact(world.tenantId, (tx) =>
      tx.query("UPDATE subscriptions SET next_period_start = $1, next_period_end = $2 WHERE external_key = 'b'", [
        new Date(NOVEMBER),
        new Date(DECEMBER),
      ]),
    )
    const runId = await world.run()
    const { state, parked } = await world.transact(world.tenantId, (tx) => readRun(tx, runId))
    expect(state).toBe('completed')
    expect(parked.map(({ reason }) => reason)).toContainEqual(expect.stringContaining('duplicate key'))
    const expected = EXPECTED.filter((line) => !line.startsWith('b 2023-12'))
    expect(summary(await world.invoices()).sort()).toEqual(expected)
  })
})

describe('while a chunk is issued the next is rated', () => {
  test('usage that cannot be read for it stops the run, after the chunk before is issued whole', async () => {
    const world = await busyWorld()
    const { usage } = world.deps
    let asked = 0
    world.deps.usage = {
      ...usage,
      quantities: async (...question) => {
        asked += 1
        if (asked === 2) throw new Error('the usage store is away')
        return usage.quantities(...question)
      },
    }
    const runId = await open(world)
    await expect(work(world, runId)).rejects.toThrow('the usage store is away')
    expect(summary(await world.invoices()).sort()).toEqual(
      EXPECTED.slice(0, 6).map((line) => line.replace('paid', 'finalised')),
    )
    await expect(work(world, runId)).resolves.toBe('completed')
    await expectBilledOnce(world)
  })
})

describe('an invoice that does not hold leaves nothing', () => {
  test('a transaction that fails after the lines gives its numbers back', async () => {
    const world = await busyWorld()
    const { newId } = world.deps
    let ids = 0
    const repeated = newId()
    world.deps.newId = () => (++ids > 10 ? repeated : newId())
    await expect(world.run()).rejects.toThrow()
    world.deps.newId = newId
    await world.run()
    await expectBilledOnce(world)
  })

  test('a subscription that somebody moved on meanwhile is parked, not billed past its place', async () => {
    const world = await busyWorld()
    const { usage } = world.deps
    world.deps.usage = {
      ...usage,
      quantities: async (...question) => {
        await world.transact(world.tenantId, (tx) =>
          tx.query('UPDATE subscriptions SET next_period_start = $1, next_period_end = $2', [
            new Date(DECEMBER),
            new Date(JANUARY),
          ]),
        )
        return usage.quantities(...question)
      },
    }
    const runId = await world.run()
    const { parked } = await world.transact(world.tenantId, (tx) => readRun(tx, runId))
    // The chunk that was being rated; those after it were read where they stand now.
    expect(parked.map(({ reason }) => reason)).toEqual(Array(3).fill(expect.stringContaining('another period')))
    expect(summary(await world.invoices()).sort()).toEqual(
      ['d', 'e', 'f', 'g'].map((name) => `${name} 2023-12-01: 20.00 + 0.00 + 2.10 = 22.10 paid`),
    )
  })

  test('a line without its invoice is refused at the commit', async () => {
    const world = await busyWorld()
    await world.run()
    const orphan = world.transact(world.tenantId, (tx) =>
      tx.query(
        `INSERT INTO invoice_lines
         SELECT tenant_id, $1, line_index, charge_key, description, meter, period_start, period_end, amount_minor,
           currency, breakdown
         FROM invoice_lines LIMIT 1`,
        [world.newId()],
      ),
    )
    await expect(orphan).rejects.toMatchObject({ code: '23503', constraint: 'invoice_lines_references' })
    await expectBilledOnce(world)
  })
})
