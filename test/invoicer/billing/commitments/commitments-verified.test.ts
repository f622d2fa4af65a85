import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createClickHouseEventReader } from '../../../../invoicer/billing/explain/events.clickhouse.ts'
import { createClickHouseUsageReader } from '../../../../invoicer/billing/usage.clickhouse.ts'
import { cloudEvent, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../../support/metering.ts'
import { buildDoors } from '../../support/doors.ts'
import { startSealer } from '../../support/world.ts'

type Line = { description: string; amount: string }
type Billed = { id: string; total: string; lines: Line[] }
type Explained = { tree: { parts: { label: string; output: string }[] } }
const month = (index: number) => Date.UTC(2026, 10 + index, 1)
const DAY_MS = 24 * 3_600_000
let metering: Metering
let tenant: Tenant
let doors: ReturnType<typeof buildDoors>
let sealer: ReturnType<typeof startSealer>
beforeAll(async () => {
  metering = await openMetering()
  tenant = await metering.tenant('committed')
  const { clock, store, database } = metering
  const usage = createClickHouseUsageReader(store)
  const events = createClickHouseEventReader(store)
  doors = buildDoors(database, { usage, events, now: () => clock.nowMs })
  sealer = startSealer(database, tenant.id, usage)
})
afterAll(async () => {
  await sealer.stop()
  await doors.invoicer.stop()
  await doors.app.close()
  await metering.close()
})

const send = async (method: 'POST' | 'PUT' | 'PATCH', url: string, body: object, status: number) => {
  const answer = await doors.call(tenant.id, method, url, body)
  expect([answer.status, answer.body]).toEqual([status, answer.body])
  return answer.body
}
let sent = 0
async function use(tokens: number, time = metering.clock.nowMs): Promise<void> {
  metering.clock.nowMs += 1_000
  sent += 1
  const event = cloudEvent(`use-${sent}`, { tokens }, { subject: 'acme', time: new Date(time).toISOString() })
  expect((await tenant.send(JSON.stringify(event))).status).toBe(202)
  await metering.settled()
}
const get = async (url: string) => (await doors.call(tenant.id, 'GET', url)).body
/** A run to its end; all invoices, the first first. */
async function run(): Promise<Billed[]> {
  metering.clock.nowMs += 1_000
  const { id } = await send('POST', '/billing-runs', {}, 202)
  for (;;) {
    const { state, error } = await get(`/billing-runs/${id}`)
    expect(error).toBe(null)
    if (state === 'completed') return (await get('/invoices')).invoices as Billed[]
    await sleep(20)
  }
}
const shown = ({ lines }: Billed) => lines.map(({ description, amount }) => `${description} ${amount}`)
const subscriptionEnd = (end: object) => send('PATCH', '/subscriptions/acme', end, 200)

/** SUB-1, issue 7: "verify recomputes from raw events, catalogue version and seal". On real stores and through REST. */
test('a commitment of three months is previewed, billed, explained and verified, whatever came late and was changed since', async () => {
  metering.clock.nowMs = month(0) + 2 * DAY_MS
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
  await send('POST', '/customers', { external_key: 'acme', currency: 'USD', subjects: ['acme'] }, 201)
  const price = { model: 'per_unit', unit_amount: '1', commitment_amount: '1000', overage_factor: '1.5' }
  const plan = { key: 'llm', name: 'LLM', currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0 }
  const charges = (more: object) => [{ key: 'use', name: 'Use', meter: 'tokens', price: { ...price, ...more } }]
  const refused = { ...plan, charges: charges({ commitment_periods: 3, minimum_amount: '5' }) }
  expect(await doors.call(tenant.id, 'POST', '/plans', refused)).toMatchObject({ status: 400 })
  const half = { ...plan, charges: charges({ commitment_periods: 1.5 }) }
  expect(await doors.call(tenant.id, 'POST', '/plans', half)).toMatchObject({ status: 400 })
  const created = await send('POST', '/plans', { ...plan, charges: charges({ commitment_periods: 3 }) }, 201)
  expect(created).toMatchObject({ charges: [{ price: { commitment_periods: 3 } }] })
  const start = '2026-11-01T00:00:00Z'
  await send('POST', '/subscriptions', { external_key: 'acme', customer: 'acme', plan: 'llm', start }, 201)
  // A progressive invoice has nothing of it: what a commitment makes of it is known when the period is over.
  await send('PUT', '/subscriptions/acme/progressive-billing', { threshold: '1.00' }, 200)

  await use(200)
  expect(await run()).toEqual([])
  metering.clock.nowMs = month(1) + DAY_MS
  await use(900)
  const preview = async () => shown((await get('/subscriptions/acme/preview')) as unknown as Billed)
  // November has no invoice yet, and counts.
  expect(await preview()).toEqual(['Use 950.00'])
  await run()
  expect(await preview()).toEqual(['Use 950.00'])
  metering.clock.nowMs = month(2) + DAY_MS
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
  await use(200, month(0) + 3 * DAY_MS)
  await subscriptionEnd({ cancel: 'period_end' })
  metering.clock.nowMs = month(3) + DAY_MS
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
  const owner = new pg.Client({ connectionString: metering.database.ownerUrl })
  await owner.connect()
  await owner.query('UPDATE commitment_draws SET base_minor = base_minor + 1 WHERE tenant_id = $1 AND ordinal = 2', [
    tenant.id,
  ])
  await owner.end()
  expect(await get(`/invoices/${second!.id}/verification`)).toMatchObject({
    equal: false,
    difference: { what: 'commitment', expected: '900.00, 950.00', found: '900.01, 950.00' },
  })
})
