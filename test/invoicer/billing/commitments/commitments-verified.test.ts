import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Invoicing, openInvoicing } from '../../support/invoicing.ts'

type Line = { description: string; amount: string }
type Billed = { id: string; total: string; lines: Line[] }
type Explained = { tree: { parts: { label: string; output: string }[] } }
const month = (index: number) => Date.UTC(2026, 10 + index, 1)
const DAY_MS = 24 * 3_600_000
let world: Invoicing
beforeAll(async () => {
  world = await openInvoicing('committed')
})
afterAll(() => world.close())

const shown = ({ lines }: Billed) => lines.map(({ description, amount }) => `${description} ${amount}`)

/** SUB-1, issue 7: "verify recomputes from raw events, catalogue version and seal". On real stores and through REST. */
test('a commitment of three months is previewed, billed, explained and verified, whatever came late and was changed since', async () => {
  const { clock, call, send, get, use } = world
  const run = () => world.run<Billed>()
  clock.nowMs = month(0) + 2 * DAY_MS
  await world.begin()
  const price = { model: 'per_unit', unit_amount: '1', commitment_amount: '1000', overage_factor: '1.5' }
  const plan = { key: 'llm', name: 'LLM', currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0 }
  const charges = (more: object) => [{ key: 'use', name: 'Use', meter: 'tokens', price: { ...price, ...more } }]
  const refused = { ...plan, charges: charges({ commitment_periods: 3, minimum_amount: '5' }) }
  expect(await call('POST', '/plans', refused)).toMatchObject({ status: 400 })
  const half = { ...plan, charges: charges({ commitment_periods: 1.5 }) }
  expect(await call('POST', '/plans', half)).toMatchObject({ status: 400 })
  const created = await send('POST', '/plans', { ...plan, charges: charges({ commitment_periods: 3 }) }, 201)
  expect(created).toMatchObject({ charges: [{ price: { commitment_periods: 3 } }] })
  const start = '2026-11-01T00:00:00Z'
  await send('POST', '/subscriptions', { external_key: 'acme', customer: 'acme', plan: 'llm', start }, 201)
  // A progressive invoice has nothing of it: what a commitment makes of it is known when the period is over.
  await send('PUT', '/subscriptions/acme/progressive-billing', { threshold: '1.00' }, 200)

  await use(200)
  expect(await run()).toEqual([])
  clock.nowMs = month(1) + DAY_MS
  await use(900)
  const preview = async () => shown((await get('/subscriptions/acme/preview')) as unknown as Billed)
  // November has no invoice yet, and counts.
  expect(await preview()).toEqual(['Use 950.00'])
  await run()
  expect(await preview()).toEqual(['Use 950.00'])
  clock.nowMs = month(2) + DAY_MS
  const [first, second] = await run()
  expect([shown(first!), shown(second!)]).toEqual([['Use 200.00'], ['Use 950.00']])
  const { tree } = (await get(`/invoices/${second!.id}/lines/0/explain`)) as unknown as Explained
  expect(tree.parts.map(({ label, output }) => [label, output]).slice(2)).toEqual([
    ['Price', '900'],
    ['Rounding', '900.00'],
    ['Commitment of 1000.00 since 2026-11-01T00:00:00.000Z', '1100'],
    ['Overage beyond the commitment', '1150'],
    ['Rounding', '1150.00'],
    ['Less what its other periods billed', '950.00'],
    ['Rounding', '950.00'],
  ])

  // Known a month later, and no usage of the third month: 200 × 1.5 for November.
  await use(200, new Date(month(0) + 3 * DAY_MS).toISOString())
  await send('PATCH', '/subscriptions/acme', { cancel: 'period_end' }, 200)
  clock.nowMs = month(3) + DAY_MS
  const all = await run()
  expect(all.map(shown).slice(2)).toEqual([['Use 0.00', 'Use (late usage, 2026-11-01 to 2026-11-30) 300.00']])
  for (const { id } of all) {
    const verified = await get(`/invoices/${id}/verification`)
    expect([verified, verified.equal]).toEqual([verified, true])
  }
  const late = await get(`/invoices/${all[2]!.id}/lines/1/explain`)
  expect(late.tree).toMatchObject({ output: '300.00' })
  expect(JSON.stringify(late.tree)).not.toContain('Stored amount')

  // What is kept of the commitment for other periods is verified with the line that drew it.
  const owner = new pg.Client({ connectionString: world.metering.database.ownerUrl })
  await owner.connect()
  await owner.query('UPDATE commitment_draws SET base_minor = base_minor + 1 WHERE tenant_id = $1 AND ordinal = 2', [
    world.tenant.id,
  ])
  await owner.end()
  expect(await get(`/invoices/${second!.id}/verification`)).toMatchObject({
    equal: false,
    difference: { what: 'commitment', expected: '900.00, 950.00', found: '900.01, 950.00' },
  })
})
