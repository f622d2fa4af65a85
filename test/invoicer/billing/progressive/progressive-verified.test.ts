import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createClickHouseEventReader } from '../../../../invoicer/billing/explain/events.clickhouse.ts'
import { createClickHouseUsageReader } from '../../../../invoicer/billing/usage.clickhouse.ts'
import { cloudEvent, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../../support/metering.ts'
import { buildDoors } from '../../support/doors.ts'
import { startSealer } from '../../support/world.ts'

type Line = { description: string; amount: string; tax: { amount: string } | null }
type Billed = { id: string; total: string; off_cycle: boolean; lines: Line[] }
const START_MS = Date.UTC(2026, 10, 1)
const DAY_MS = 24 * 3_600_000
let metering: Metering
let tenant: Tenant
let doors: ReturnType<typeof buildDoors>
let sealer: ReturnType<typeof startSealer>
beforeAll(async () => {
  metering = await openMetering()
  tenant = await metering.tenant('progressive')
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
async function use(tokens: number): Promise<void> {
  metering.clock.nowMs += 1_000
  sent += 1
  const time = new Date(metering.clock.nowMs).toISOString()
  const event = cloudEvent(`use-${sent}`, { tokens }, { subject: 'acme', time })
  expect((await tenant.send(JSON.stringify(event))).status).toBe(202)
  await metering.settled()
}
const get = async (url: string) => (await doors.call(tenant.id, 'GET', url)).body
/** A run to its end; all invoices, the first first. */
async function run(dryRun = false): Promise<Billed[]> {
  metering.clock.nowMs += 1_000
  const { id } = await send('POST', '/billing-runs', { dry_run: dryRun }, 202)
  for (;;) {
    const { state, error } = await get(`/billing-runs/${id}`)
    expect(error).toBe(null)
    if (state === 'completed') return (await get('/invoices')).invoices as Billed[]
    await sleep(20)
  }
}
async function expectVerified(invoices: readonly Billed[]): Promise<void> {
  for (const { id } of invoices) {
    const verified = await get(`/invoices/${id}/verification`)
    expect([verified, verified.equal]).toEqual([verified, true])
  }
}
const shown = ({ lines }: Billed) => lines.map(({ amount, tax }) => `${amount} ${tax?.amount}`)
const LESS = 'less what was billed in the period'

/** Issue 7, on real stores and through REST: R1 with 10 % off and 24 % tax. */
test('invoices inside of a period have discounts and tax, and each is verified from raw events, whatever was changed since', async () => {
  metering.clock.nowMs = START_MS + 2 * DAY_MS
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
  const tax_registrations = [{ country: 'GR', number: 'EL123456789' }]
  await send('POST', '/legal-entities', { key: 'hellas', name: 'Hellas', country: 'GR', tax_registrations }, 201)
  const inGreece = { billing_address: { country: 'GR' } }
  await send('POST', '/customers', { external_key: 'acme', currency: 'USD', subjects: ['acme'], ...inGreece }, 201)
  const tiers = [
    { up_to: '10', unit_amount: '10', flat_amount: '2' },
    { up_to: '20', unit_amount: '5', flat_amount: '3' },
    { up_to: null, unit_amount: '5', flat_amount: '3' },
  ]
  const charges = [{ key: 'use', name: 'Use', meter: 'tokens', price: { model: 'graduated', tiers } }]
  const of = { currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0, charges }
  await send('POST', '/plans', { key: 'llm', name: 'LLM', ...of }, 201)
  await send('POST', '/plans', { key: 'half', name: 'Half', ...of }, 201)
  const start = '2026-11-01T00:00:00Z'
  await send('POST', '/subscriptions', { external_key: 'acme', customer: 'acme', plan: 'llm', start }, 201)
  await send('POST', '/coupons', { key: 'tenth', name: 'Tenth', percent: '10', cycles: 1 }, 201)
  await send('POST', '/subscriptions/acme/discounts', { external_key: 'tenth', coupon: 'tenth', start }, 201)
  const url = '/subscriptions/acme/progressive-billing'
  expect(await doors.call(tenant.id, 'GET', url)).toMatchObject({ status: 404 })
  expect(await doors.call(tenant.id, 'PUT', url, { threshold: '0.00' })).toMatchObject({ status: 400 })
  const threshold = { threshold: '50.00', currency: 'USD' }
  expect(await send('PUT', url, { threshold: '50.00' }, 200)).toMatchObject(threshold)
  expect(await get(url)).toMatchObject(threshold)

  await use(5)
  expect(await run(true)).toEqual([])
  const [dry] = (await get('/billing-runs')).billing_runs as { id: string }[]
  const { drafts } = await get(`/billing-runs/${dry!.id}/review`)
  expect(drafts).toMatchObject([{ kind: 'invoice', off_cycle: true, amount: '58.03' }])
  const [first] = await run()
  // 52.00, of which 5.20 are off; 24 % of the rest.
  expect([shown(first!), first!.total]).toEqual([['52.00 12.48', '-5.20 -1.25'], '58.03'])
  expect(await run()).toHaveLength(1)
  await use(7)
  const [, second] = await run()
  expect([shown(second!), second!.total]).toEqual([['115.00 27.60', '-46.80 -11.23', '-11.50 -2.76'], '70.31'])
  await expectVerified([first!, second!])
  const less = await get(`/invoices/${second!.id}/lines/1/explain`)
  expect(second!.lines[1]!.description).toBe(`Use (${LESS})`)
  expect(less.tree).toMatchObject({ output: '-46.80', parts: [{ rule: '0 - 46.80', output: '-46.80' }] })

  metering.clock.nowMs = START_MS + 15 * DAY_MS
  await send('PATCH', '/subscriptions/acme', { plan: 'half', when: 'now' }, 200)
  await use(9)
  expect(await get('/subscriptions/acme/preview')).toMatchObject({
    state: 'draft',
    finalises_at: '2026-12-01T00:00:00.000Z',
  })
  metering.clock.nowMs = START_MS + 31 * DAY_MS
  const all = await run()
  // 12 on the one, 112.50, and 9 on the other, 91.00; less what was billed, 103.50.
  expect(all.slice(2).map(({ total, lines }) => [total, ...lines.map(({ amount }) => amount)])).toEqual([
    ['98.77', '112.50', '91.00', '-103.50', '-11.25', '-9.10'],
  ])
  await expectVerified(all)
})
