import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, TOO_MUCH, type World } from '../../support/world.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const price = { model: 'per_unit', unit_amount: '1' } as const
const runAt = (world: World, atMs: number) => {
  world.clock.nowMs = atMs
  return world.run()
}
const rowsOf = (world: World, sql: string) =>
  world.transact(world.tenantId, async (tx) => (await tx.query<{ row: string }>(sql)).rows.map(({ row }) => row))

/** It used to be parked by every run: of a busy customer something always comes late. */
test('late usage that cannot be billed keeps due periods waiting once, whatever else comes late', async () => {
  const world = await createWorld(database, 'busy-refused')
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price }] })
  await world.subscribe('a', { endMs: null })
  await runAt(world, DECEMBER + 2 * HOUR_MS)
  const parkedAt = async (atMs: number) => {
    const runId = await runAt(world, atMs)
    return (await world.transact(world.tenantId, (tx) => readRun(tx, runId))).parked.length
  }
  const kept = () =>
    rowsOf(world, "SELECT min(first_at)::date || ' ' || max(last_at)::date AS row FROM late_usage_left")
  world.use('a', 'context_tokens', TOO_MUCH, NOVEMBER + 2 * DAY_MS, DECEMBER + 3 * DAY_MS)
  expect(await parkedAt(JANUARY + 2 * HOUR_MS)).toBe(1)
  expect(await world.invoices()).toHaveLength(1)
  world.use('a', 'context_tokens', '1', NOVEMBER + 2 * DAY_MS, JANUARY + 2.5 * HOUR_MS)
  expect(await parkedAt(JANUARY + 3 * HOUR_MS)).toBe(0)
  expect(await world.invoices()).toHaveLength(2)
  // Of the period behind it, which can be billed.
  world.use('a', 'context_tokens', '5', DECEMBER + 9 * DAY_MS, JANUARY + 4 * HOUR_MS)
  expect(await parkedAt(JANUARY + 5 * HOUR_MS)).toBe(0)
  expect(await rowsOf(world, 'SELECT amount_minor AS row FROM usage_adjustments')).toEqual(['500'])
  expect(await kept()).toEqual(['2023-11-03 2023-11-03'])
  // Another one that cannot be billed is told of too.
  world.use('a', 'context_tokens', TOO_MUCH, DECEMBER + 9 * DAY_MS, JANUARY + 6 * HOUR_MS)
  expect([await parkedAt(JANUARY + 7 * HOUR_MS), await parkedAt(JANUARY + 8 * HOUR_MS)]).toEqual([1, 0])
  expect(await kept()).toEqual(['2023-11-03 2023-12-10'])
})

test('less of many charges is given back on the lines of each, which one statement finds', async () => {
  const world = await createWorld(database, 'busy-less')
  await world.plan({
    charges: [
      { key: 'use', name: 'Use', meter: 'context_tokens', price },
      { key: 'more', name: 'More', meter: 'generated_tokens', price },
    ],
  })
  for (const name of ['a', 'b']) {
    await world.subscribe(name, { endMs: null })
    for (const meter of ['context_tokens', 'generated_tokens']) {
      world.use(name, meter, '9', NOVEMBER)
      world.use(name, meter, meter === 'context_tokens' ? '-2' : '-3', NOVEMBER, DECEMBER + DAY_MS)
    }
  }
  await runAt(world, DECEMBER + 2 * HOUR_MS)
  const { transact } = world.deps
  let statements = 0
  world.deps.transact = (tenantId, work) =>
    transact(tenantId, async (tx) => {
      const query = vi.spyOn(tx, 'query')
      try {
        return await work(tx)
      } finally {
        statements += query.mock.calls.filter((call) => String(call).includes('invoice_id, meter, place)')).length
        query.mockRestore()
      }
    })
  await runAt(world, DECEMBER + 2 * DAY_MS)
  expect(statements).toBe(1)
  expect(
    await rowsOf(
      world,
      `SELECT c.external_key || ' ' || l.charge_key || ' ' || n.amount_minor AS row
       FROM credit_note_lines n JOIN credit_notes d ON d.id = n.credit_note_id JOIN invoices i ON i.id = d.invoice_id
       JOIN customers c ON c.id = i.customer_id
       JOIN invoice_lines l ON l.invoice_id = i.id AND l.line_index = n.line_index ORDER BY row`,
    ),
  ).toEqual(['a more 300', 'a use 200', 'b more 300', 'b use 200'])
})
