import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { changeInvoiceSettings } from '../../../../invoicer/agreements/invoice-settings/change-settings.ts'
import { grantCredit } from '../../../../invoicer/collection/credits/grant-credit.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { balanceOf, change, FEE, HOUR_MS, runAt, USE, voidWorld } from '../../collection/voids/void-world.ts'
import { DECEMBER, JANUARY, NOVEMBER, type World } from '../../support/world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** What somebody does next; `nth` names an invoice among those there are by then. */
const step = fc.oneof(
  fc.record({ do: fc.constant('run' as const) }),
  fc.record({
    do: fc.constant('use' as const),
    month: fc.constantFrom(NOVEMBER, DECEMBER),
    tokens: fc.integer({ min: 1, max: 9 }),
  }),
  fc.record({ do: fc.constantFrom('void' as const, 'reissue' as const, 'write_off' as const), nth: fc.nat(20) }),
  fc.record({ do: fc.constant('credit' as const), cents: fc.integer({ min: 1, max: 4_000 }) }),
)

const rowsOf = <R extends object>(world: World, sql: string) =>
  world.transact(world.tenantId, async (tx) => (await tx.query<R>(sql)).rows)

test('whatever is voided, issued anew, used and granted in whatever order: a living period is billed what it costs, once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 4, maxLength: 12 }),
      fc.constantFrom<Record<string, string>>({}, { USD: '25.00' }),
      async (steps, leastDue) => {
        const { world } = await voidWorld(database, [FEE, USE])
        await world.transact(world.tenantId, (tx) =>
          changeInvoiceSettings(tx, { zeroInvoices: 'issue', leastDue }, world),
        )
        await world.subscribe('a', { endMs: JANUARY })
        const used = new Map([
          [NOVEMBER, 0],
          [DECEMBER, 0],
        ])
        await runAt(world, JANUARY + 2 * HOUR_MS)
        for (const [index, one] of steps.entries()) {
          world.clock.nowMs += 1_000
          if (one.do === 'run') await world.run()
          else if (one.do === 'use') {
            world.use('a', 'context_tokens', String(one.tokens), one.month, world.clock.nowMs)
            used.set(one.month, (used.get(one.month) ?? 0) + one.tokens)
          } else if (one.do === 'credit') {
            const of = { customer: 'a', name: null, priority: 0, expiresAtMs: null }
            const grant = { ...of, externalKey: `g-${index}`, amount: (one.cents / 100).toFixed(2) }
            await world.transact(world.tenantId, (tx) => grantCredit(tx, grant, world))
          } else {
            const invoices = await world.invoices()
            const invoice = invoices[one.nth % invoices.length]!
            await change(world, invoice.id, one.do).catch((error: unknown) => {
              if (!(error instanceof Problem) || error.code !== 'illegal_state') throw error
            })
          }
        }
        world.clock.nowMs += 1_000
        await world.run()
        await checkSums(world, used)
      },
    ),
    { numRuns: 8 },
  )
}, 300_000)

async function checkSums(world: World, used: ReadonlyMap<number, number>): Promise<void> {
  const invoices = await world.invoices()
  const living = invoices.filter(({ state }) => state !== 'void')
  for (const [month, tokens] of used) {
    const own = living.filter(({ offCycle, periodStartMs }) => !offCycle && periodStartMs === month)
    expect(own.length).toBeLessThanOrEqual(1)
    const lines = living.flatMap((invoice) => invoice.lines).filter(({ periodStartMs }) => periodStartMs === month)
    const billedMinor = lines.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
    if (own.length === 1) expect(billedMinor).toBe(2_000n + BigInt(tokens) * 100n)
  }
  expect(invoices.map(({ number }) => Number(number?.slice(4))).sort((a, b) => a - b)).toEqual(
    invoices.map((_, index) => index + 1),
  )
  // Of every grant amount = remaining + uses, and what living invoices drew is all that is gone.
  const wrong = `SELECT g.id FROM credit_grants g LEFT JOIN credit_uses u ON u.grant_id = g.id
    GROUP BY g.id, g.amount_minor, g.remaining_minor HAVING g.amount_minor <> g.remaining_minor + coalesce(sum(u.amount_minor), 0)`
  expect(await rowsOf(world, wrong)).toEqual([])
  const [{ gone }] = (await rowsOf<{ gone: string }>(
    world,
    'SELECT coalesce(sum(amount_minor - remaining_minor), 0)::text AS gone FROM credit_grants',
  )) as [{ gone: string }]
  expect(gone).toBe(String(living.reduce((sum, { creditMinor }) => sum + creditMinor, 0n)))
  expect(await balanceOf(world, 'a')).toBe('0.00')
  // What was carried forward is due on a living invoice, or waits.
  const carried = await rowsOf<{ amount_minor: string; state: string | null }>(
    world,
    `SELECT c.amount_minor, i.state FROM carried_amounts c LEFT JOIN invoices i ON i.id = c.to_invoice_id`,
  )
  expect(carried.filter(({ state }) => state === 'void')).toEqual([])
  const inMinor = living.reduce((sum, { carriedInMinor }) => sum + carriedInMinor, 0n)
  const hadMinor = carried.reduce(
    (sum, { amount_minor, state }) => sum + (state === null ? 0n : BigInt(amount_minor)),
    0n,
  )
  expect(hadMinor).toBe(inMinor)
}
