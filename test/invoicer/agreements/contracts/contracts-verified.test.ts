import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createClickHouseEventReader } from '../../../../invoicer/billing/explain/events.clickhouse.ts'
import { createClickHouseUsageReader } from '../../../../invoicer/billing/usage.clickhouse.ts'
import { cloudEvent, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../../support/metering.ts'
import { buildDoors } from '../../support/doors.ts'
import { startSealer } from '../../support/world.ts'

type Line = { index: number; amount: string; plan_hash: string }
type Billed = { id: string; lines: Line[] }
let metering: Metering
let tenant: Tenant
let doors: ReturnType<typeof buildDoors>
let sealer: ReturnType<typeof startSealer>
beforeAll(async () => {
  metering = await openMetering()
  tenant = await metering.tenant('negotiated')
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

async function use(id: string, tokens: number, time: string): Promise<void> {
  metering.clock.nowMs += 1_000
  const event = cloudEvent(id, { tokens }, { subject: 'acme', time })
  expect((await tenant.send(JSON.stringify(event))).status).toBe(202)
  await metering.settled()
}
/** A run until there are so many invoices; the newest. */
async function run(count: number): Promise<Billed> {
  metering.clock.nowMs += 1_000
  expect((await doors.call(tenant.id, 'POST', '/billing-runs', {})).status).toBe(202)
  for (;;) {
    const invoices = (await doors.call(tenant.id, 'GET', '/invoices')).body.invoices as Billed[]
    const newest = invoices.sort((a, b) => (a.id < b.id ? 1 : -1))[0]
    if (newest !== undefined && invoices.length >= count) return newest
    await sleep(20)
  }
}
const post = async (url: string, body: object) => {
  const answer = await doors.call(tenant.id, 'POST', url, body)
  expect([answer.status, answer.body]).toEqual([201, answer.body])
  return answer.body
}
/** The amounts of its lines, each explained, and all of it recomputed from raw events. */
async function verified({ id, lines }: Billed): Promise<string[]> {
  const { body } = await doors.call(tenant.id, 'GET', `/invoices/${id}/verification`)
  expect(body).toMatchObject({ equal: true, difference: null })
  for (const { index, amount } of lines) {
    const explained = await doors.call(tenant.id, 'GET', `/invoices/${id}/lines/${index}/explain`)
    expect(explained.body).toMatchObject({ tree: { output: amount } })
  }
  return lines.map(({ amount }) => amount)
}

/** Issue 7: what was negotiated is explained and verified from raw events, and given back, like any other line. */
test('two steps of a ramp in one period, each at prices of its own, and what came late of the first', async () => {
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
  await post('/customers', { external_key: 'acme', currency: 'USD', subjects: ['acme'] })
  const price = (unit: string) => ({ model: 'per_unit', unit_amount: unit })
  const list = await post('/plans', {
    ...{ key: 'llm', name: 'LLM', currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0 },
    charges: [{ key: 'use', name: 'Use', meter: 'tokens', price: price('0.10') }],
  })
  const overrides = (unit: string) => ({ charges: { use: { price: price(unit) } } })
  const phases = [
    { for: { interval: 'day', count: 5 }, overrides: overrides('0.08') },
    { overrides: overrides('0.09') },
  ]
  const times = { start: '2026-11-05T00:00:00Z', end: '2026-11-15T00:00:00Z' }
  await post('/subscriptions', { external_key: 'acme', customer: 'acme', plan: 'llm', ...times, phases })
  await use('a-1', 100, '2026-11-06T00:00:00Z')
  await use('a-2', 100, '2026-11-12T00:00:00Z')
  const first = await run(1)
  expect(await verified(first)).toEqual(['8.00', '9.00'])
  expect(new Set([list.hash, ...first.lines.map((line) => line.plan_hash)]).size).toBe(3)
  await use('a-3', 50, '2026-11-07T00:00:00Z')
  expect(await verified(await run(2))).toEqual(['4.00'])
  const given = await doors.app.inject({
    ...{ method: 'POST', url: `/api/v1/invoices/${first.id}/credit-notes` },
    headers: { 'x-tenant': String(tenant.id), 'idempotency-key': 'back' },
    payload: { reason: 'Agreed.', lines: [{ line: 1 }] },
  })
  expect([given.statusCode, given.json()]).toMatchObject([201, { total: '9.00' }])
})
