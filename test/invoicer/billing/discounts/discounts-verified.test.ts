import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createClickHouseEventReader } from '../../../../invoicer/billing/explain/events.clickhouse.ts'
import { createClickHouseUsageReader } from '../../../../invoicer/billing/usage.clickhouse.ts'
import { cloudEvent, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../../support/metering.ts'
import { buildDoors } from '../../support/doors.ts'
import { startSealer } from '../../support/world.ts'

type Billed = { id: string; lines: { charge: string; amount: string }[] }
let metering: Metering
let tenant: Tenant
let doors: ReturnType<typeof buildDoors>
let sealer: ReturnType<typeof startSealer>
beforeAll(async () => {
  metering = await openMetering()
  tenant = await metering.tenant('discounted')
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

async function use(id: string, tokens: number): Promise<void> {
  metering.clock.nowMs += 1_000
  const event = cloudEvent(id, { tokens }, { subject: 'acme', time: '2026-11-06T00:00:00Z' })
  expect((await tenant.send(JSON.stringify(event))).status).toBe(202)
  await metering.settled()
}
/** A run until there are so many invoices; all of them, the newest first. */
async function run(count: number): Promise<Billed[]> {
  metering.clock.nowMs += 1_000
  expect((await doors.call(tenant.id, 'POST', '/billing-runs', {})).status).toBe(202)
  for (;;) {
    const invoices = (await doors.call(tenant.id, 'GET', '/invoices')).body.invoices as Billed[]
    if (invoices.length >= count) return invoices.reverse()
    await sleep(20)
  }
}
const post = async (url: string, body: object) => {
  const answer = await doors.call(tenant.id, 'POST', url, body)
  expect([answer.status, answer.body]).toEqual([201, answer.body])
}
const verify = async ({ id }: Billed) => (await doors.call(tenant.id, 'GET', `/invoices/${id}/verification`)).body
const amounts = ({ lines }: Billed) => lines.map(({ amount }) => amount)

/** Issue 7 and billing-rules "Usage that comes late", on real stores. */
test('usage with a minimum, a percentage and an amount off is verified from raw events, and so is what came late', async () => {
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
  await post('/customers', { external_key: 'acme', currency: 'USD', subjects: ['acme'] })
  const price = { model: 'per_unit', unit_amount: '0.333', minimum_amount: '20.00' }
  await post('/plans', {
    ...{ key: 'llm', name: 'LLM', currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0 },
    charges: [{ key: 'use', name: 'Use', meter: 'tokens', price }],
  })
  const [start, end] = ['2026-11-05T00:00:00Z', '2026-11-15T00:00:00Z']
  await post('/subscriptions', { external_key: 'acme', customer: 'acme', plan: 'llm', start, end })
  await post('/coupons', { key: 'third', name: 'A third', percent: '33.333333333333', cycles: null })
  await post('/coupons', { key: 'one', name: 'One', amount: '1.00', currency: 'USD', cycles: null, charges: ['use'] })
  await post('/subscriptions/acme/discounts', { external_key: 'third', coupon: 'third', start })
  await post('/subscriptions/acme/discounts', { external_key: 'one', coupon: 'one', start })
  await use('first', 10)
  const [first] = (await run(1)) as [Billed]
  // A third of a month: 3.33, and as much up to 17.33 - 10.67 = 6.66. Less 1.00, less a third: 1.89.
  expect(amounts(first)).toEqual(['3.33', '3.33', '-0.50', '-0.50', '-0.95', '-0.94'])
  expect(await verify(first)).toMatchObject({ equal: true, difference: null, checked: { lines: 6, events: 1 } })

  await use('late', 20)
  const [second] = (await run(2)) as [Billed]
  // 9.99 by now: 3.33 more, of which a third is 1.11.
  expect(amounts(second)).toEqual(['2.22'])
  expect(await verify(second)).toMatchObject({ equal: true, difference: null, checked: { lines: 1, events: 2 } })
  const { tree } = (await doors.call(tenant.id, 'GET', `/invoices/${second.id}/lines/0/explain`)).body as {
    tree: { parts: { label: string; output: string }[] }
  }
  expect(tree.parts.slice(-2)).toMatchObject([
    { label: 'Less discounts of that period', output: '5.99' },
    { label: 'Less what was billed', rule: '5.99 - 3.77', output: '2.22' },
  ])
})
