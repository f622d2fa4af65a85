import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClickHouseEventReader } from '../../../invoicer/billing/explain/events.clickhouse.ts'
import { createClickHouseUsageReader } from '../../../invoicer/billing/usage.clickhouse.ts'
import { cloudEvent, type Json, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { type Answer, buildDoors } from '../support/doors.ts'
import { startSealer } from '../support/world.ts'

const HOUR_MS = 3_600_000
let metering: Metering
let tenant: Tenant
let doors: ReturnType<typeof buildDoors>
let sealer: ReturnType<typeof startSealer>
let keys = 0

beforeAll(async () => {
  metering = await openMetering()
  const { clock, store, database } = metering
  tenant = await metering.tenant('reissued')
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
  const usage = createClickHouseUsageReader(store)
  const gateway = {
    name: 'manual' as const,
    charge: async () => ({ outcome: 'declined' as const, reason: 'no funds' }),
  }
  const events = createClickHouseEventReader(store)
  doors = buildDoors(database, { usage, events, gateway, now: () => clock.nowMs })
  sealer = startSealer(database, tenant.id, usage)
})
afterAll(async () => {
  await sealer.stop()
  await doors.invoicer.stop()
  await doors.app.close()
  await metering.close()
})

async function ask(method: 'GET' | 'POST' | 'PUT', url: string, payload?: object, key?: string): Promise<Answer> {
  const headers = { 'x-tenant': String(tenant.id), ...(key === undefined ? {} : { 'idempotency-key': key }) }
  const request = { method, url: `/api/v1${url}`, headers, ...(payload ? { payload } : {}) }
  const response = await doors.app.inject(request)
  return { status: response.statusCode, body: response.json() }
}
const post = async (url: string, payload: object) => {
  const answer = await ask('POST', url, payload)
  expect([answer.status, answer.body]).toEqual([201, answer.body])
}
const change = (id: unknown, how: string, key = `key-${++keys}`) =>
  ask('POST', `/invoices/${String(id)}/${how}`, { reason: 'It was wrong.' }, key)
const invoicesOf = async (customer: string) =>
  (await ask('GET', `/invoices?customer=${customer}`)).body.invoices as Json[]
const verified = async (id: unknown) => (await ask('GET', `/invoices/${String(id)}/verification`)).body.equal

/** A run to its end. */
async function run(): Promise<void> {
  const { body } = await ask('POST', '/billing-runs', {})
  for (;;) {
    const { state, error } = (await ask('GET', `/billing-runs/${String(body.id)}`)).body
    if (state === 'completed') return
    if (state !== 'running') throw new Error(`The run is ${String(state)}: ${String(error)}`)
    await sleep(20)
  }
}

async function use(id: string, tokens: number, subject: string, time = '2026-11-06T00:00:00Z'): Promise<void> {
  metering.clock.nowMs += 1_000
  const event = cloudEvent(id, { tokens, model: 'm' }, { subject, time })
  expect((await tenant.send(JSON.stringify(event))).status).toBe(202)
  await metering.settled()
  metering.clock.nowMs += HOUR_MS
}

/** Ten days of November at 0.10 a token are over; tax comes on top. */
async function customer(key: string): Promise<void> {
  await post('/customers', { external_key: key, currency: 'USD', subjects: [key] })
  const [start, end] = ['2026-11-05T00:00:00Z', '2026-11-15T00:00:00Z']
  await post('/subscriptions', { external_key: key, customer: key, plan: 'tokens', start, end })
}

describe('invoices over REST, from events to what is issued anew', () => {
  test('a plan, and what invoices show', async () => {
    await post('/plans', {
      ...{ key: 'tokens', name: 'Tokens', currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0 },
      fees: 'in_arrears',
      charges: [{ key: 'use', name: 'Use', meter: 'tokens', price: { model: 'per_unit', unit_amount: '0.10' } }],
    })
    const branding = { name: 'Tallyline Inc.', address_lines: ['1 Main Street'], primary_colour: '#0b5fff' }
    const texts = { custom_fields: { Terms: 'Net 30' }, footer: 'Line one\nLine two', branding }
    expect((await ask('PUT', '/invoice-texts', texts)).status).toBe(200)
    const bad = [
      { branding: { logo_url: 'javascript:alert(1)' } },
      { branding: { primary_colour: 'red' } },
      { custom_fields: { ['k'.repeat(65)]: 'v' } },
      { custom_fields: Object.fromEntries(Array.from({ length: 21 }, (_, n) => [`f${n}`, 'v'])) },
      { memo: 'a\u0000b' },
      { other: 1 },
    ]
    for (const body of bad) expect([body, (await ask('PUT', '/invoice-texts', body)).status]).toEqual([body, 400])
    expect((await ask('PUT', '/customers/nobody/invoice-texts', {})).status).toBe(404)
    expect((await ask('GET', '/invoice-texts')).body).toEqual({
      custom_fields: { Terms: 'Net 30' },
      memo: null,
      footer: 'Line one\nLine two',
      branding: { ...branding, logo_url: null, accent_colour: null },
    })
  })

  test('void and reissue: new number, right amount, both verified, texts as they were when each was issued', async () => {
    await customer('acme')
    await ask('PUT', '/customers/acme/invoice-texts', { custom_fields: { 'Purchase order': 'PO-1' } })
    await ask('PUT', '/subscriptions/acme/invoice-texts', { memo: 'Thank you' })
    await use('a-1', 100, 'acme')
    await run()
    const [first] = (await invoicesOf('acme')) as [Json]
    expect(first).toMatchObject({ number: 'INV-000001', total: '10.00', state: 'finalised', amount_remaining: '10.00' })
    const shown = { custom_fields: { 'Purchase order': 'PO-1', Terms: 'Net 30' }, memo: 'Thank you' }
    expect(first).toMatchObject({ ...shown, branding: { name: 'Tallyline Inc.' } })
    await ask('PUT', '/customers/acme/invoice-texts', { custom_fields: { 'Purchase order': 'PO-2' } })
    await use('a-2', 5, 'acme')
    const answer = await change(first.id, 'reissue', 'once')
    expect(answer.status).toBe(200)
    expect(answer.body).toMatchObject({ state: 'void', change_reason: 'It was wrong.', amount_remaining: '0.00' })
    expect(await change(first.id, 'reissue', 'once')).toEqual(answer)
    expect((await change(first.id, 'void', 'once')).status).toBe(409)
    expect((await change(first.id, 'void')).status).toBe(409)
    await run()
    const [old, fresh] = (await invoicesOf('acme')) as [Json, Json]
    expect(old).toMatchObject({ ...shown, number: 'INV-000001', state: 'void', replaced_by: fresh.id })
    expect(fresh).toMatchObject({ number: 'INV-000002', total: '10.50', replaces: old.id, state: 'finalised' })
    expect(fresh).toMatchObject({ custom_fields: { 'Purchase order': 'PO-2', Terms: 'Net 30' } })
    expect([await verified(old.id), await verified(fresh.id)]).toEqual([true, true])
    // Late by now: the difference to the new one, on an invoice of its own, since the subscription has ended.
    await use('a-3', 2, 'acme')
    await run()
    const [, , late] = (await invoicesOf('acme')) as Json[]
    expect(late).toMatchObject({ number: 'INV-000003', total: '0.20', off_cycle: true })
    expect([await verified(old.id), await verified(fresh.id), await verified(late!.id)]).toEqual([true, true, true])
    // What was settled since is in the way.
    expect((await change(fresh.id, 'void')).body).toMatchObject({ code: 'illegal_state' })
  })

  test('written off, and what is missing or wrong in a request', async () => {
    await customer('bad-debt')
    await use('b-1', 10, 'bad-debt')
    await run()
    const [{ id }] = (await invoicesOf('bad-debt')) as [Json]
    const without = await ask('POST', `/invoices/${String(id)}/void`, { reason: 'x' })
    expect(without.status).toBe(400)
    expect((await ask('POST', `/invoices/${String(id)}/void`, {}, 'k')).status).toBe(400)
    expect((await ask('POST', '/invoices/nothing/void', { reason: 'x' }, 'k')).status).toBe(404)
    expect((await change(id, 'uncollectible')).body).toMatchObject({ state: 'uncollectible', amount_remaining: '1.00' })
    const { body } = await ask('GET', `/billing-events?invoice=${String(id)}`)
    expect((body.events as Json[]).map(({ event }) => event)).toContain('invoice.uncollectible')
  })

  test('settings: a small amount is carried forward, an invoice of nothing is not shown', async () => {
    const settings = { zero_invoices: 'suppress', least_due: { USD: '5.00' } }
    expect((await ask('PUT', '/invoice-settings', settings)).body).toEqual(settings)
    expect((await ask('GET', '/invoice-settings')).body).toEqual(settings)
    for (const bad of [
      { ...settings, least_due: { XXX: '1' } },
      { zero_invoices: 'no', least_due: {} },
    ]) {
      expect((await ask('PUT', '/invoice-settings', bad)).status).toBe(400)
    }
    await customer('small')
    await customer('none')
    await use('s-1', 30, 'small')
    await run()
    expect(await invoicesOf('none')).toEqual([])
    const [small] = (await invoicesOf('small')) as [Json]
    expect(small).toMatchObject({ total: '3.00', carried_out: '3.00', amount_due: '0.00', state: 'paid' })
    expect((await ask('GET', '/customers/small/balance')).body).toMatchObject({
      carried_forward: [{ currency: 'USD', amount: '3.00' }],
    })
    await use('s-2', 25, 'small')
    await run()
    const [, late] = (await invoicesOf('small')) as [Json, Json]
    expect(late).toMatchObject({ total: '2.50', carried_in: '3.00', carried_out: '0.00', amount_due: '5.50' })
    expect([await verified(small.id), await verified(late.id)]).toEqual([true, true])
    // What is suppressed is there for who asks by its id, and comes to nothing.
    const { body } = await ask('GET', '/billing-events?customer=none')
    const told = (body.events as Json[]).find(({ event }) => event === 'invoice.suppressed')
    const hidden = await ask('GET', `/invoices/${String(told?.invoice_id)}`)
    expect(hidden.body).toMatchObject({ number: null, state: 'suppressed', total: '0.00' })
    expect(await verified(told?.invoice_id)).toBe(true)
  })
})
