import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import { createClickHouseEventReader } from '../../../invoicer/billing/explain/events.clickhouse.ts'
import { quoteCase } from '../../../invoicer/billing/quote/quote.ts'
import { createClickHouseUsageReader } from '../../../invoicer/billing/usage.clickhouse.ts'
import { cloudEvent, type Json, type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { buildDoors } from '../support/doors.ts'
import { startSealer } from '../support/world.ts'

// A bound against hanging, not a promise: other work may share the machine.
const HOUR_MS = 3_600_000
const optional = (name: string) => ({ name, type: ['null', 'string'], default: null })
const SCHEMA = {
  ...{ type: 'record', name: 'Visit' },
  fields: [{ name: 'paid', type: 'long' }, optional('region'), optional('payer'), optional('code')],
}
const byRegion = (eu: string, us: string, other: string) => ({
  ...{ model: 'matrix', dimensions: ['region'], default_unit_amount: other },
  cells: [
    { when: { region: 'eu' }, unit_amount: eu },
    { when: { region: 'us' }, unit_amount: us },
  ],
})
const percentage = { model: 'percentage', rate: '1.3' }
/** A charge of each sort: what it needs to know of its events is said by its key. */
const CHARGES = [
  { key: 'cells', meter: 'visits', price: byRegion('5', '3', '1'), attributes: ['payer', 'code'] },
  { key: 'order', meter: 'paid', price: { ...percentage, fixed_amount: '0.2', free_events: '2', max_per_event: '2' } },
  { key: 'values', meter: 'paid', price: { ...percentage, min_per_event: '1' } },
  { key: 'number', meter: 'paid', price: { ...percentage, fixed_amount: '0.2' } },
  { key: 'cells-in-order', meter: 'paid', price: { ...byRegion('0.1', '0.2', '0.3'), included_units: '25' } },
  { key: 'total', meter: 'paid', price: { ...percentage, free_units: '800' } },
]

let metering: Metering
let tenant: Tenant
let doors: ReturnType<typeof buildDoors>
let sealer: ReturnType<typeof startSealer>
let builds = 0

type Attributes = { names: string[]; combinations: { values: (string | null)[]; quantity: string; events: number }[] }
type Line = {
  index: number
  charge: string
  amount: string
  events: number | null
  attributes: Attributes | null
  plan: string
}
type Billed = { id: string; number: string; lines: Line[]; total: string; credited: string }

const get = async <T = Json>(url: string) => (await doors.call(tenant.id, 'GET', url)).body as T
const post = async (url: string, body: object) => {
  const answer = await doors.call(tenant.id, 'POST', url, body)
  expect([answer.status, answer.body]).toEqual([201, answer.body])
}
/** In another hour than anything became known in, usage as of now is read from rollups. */
async function rebuild(): Promise<void> {
  const { clock, store } = metering
  await metering.settled()
  const now = () => Date.now() + 2 * HOUR_MS
  const logger = pino({ level: 'silent' })
  while ((await rebuildTenant({ store, logger, now, random20: () => builds++ }, tenant.id)) > 0) {}
  clock.nowMs += 2 * HOUR_MS
}
/** A run, and the invoices of a customer behind it, oldest first. */
async function run(customer: string): Promise<Billed[]> {
  const { status, body } = await doors.call(tenant.id, 'POST', '/billing-runs', {})
  expect([status, body]).toEqual([202, body])
  for (;;) {
    const { state, error } = await get<{ state: string; error: unknown }>(`/billing-runs/${String(body.id)}`)
    if (state === 'completed') break
    expect([state, error]).toEqual(['running', null])
    await sleep(20)
  }
  return (await get<{ invoices: Billed[] }>(`/invoices?customer=${customer}`)).invoices
}

type Visit = { paid: number; region?: string; payer?: string; code?: string }
const at = (day: number, minute = 0) => ({ time: new Date(Date.UTC(2026, 10, day, 0, minute)).toISOString() })
const visit = (id: string, subject: string, day: number, data: Visit, minute = 0) =>
  cloudEvent(id, data, { subject, type: 'visit', ...at(day, minute) })
async function send(...batch: Json[]): Promise<void> {
  metering.clock.nowMs += 1_000
  const answer = await tenant.send(JSON.stringify(batch))
  expect([answer.status, answer.body]).toEqual([202, answer.body])
}
async function correct(kind: 'void' | 'replace', id: string, event?: object): Promise<void> {
  metering.clock.nowMs += 1_000
  const body = { source: 'test', id, reason: 'a test', ...(event ? { event } : {}) }
  const answer = await tenant.call('POST', `/events/${kind}`, body)
  expect([answer.status, answer.body]).toEqual([202, answer.body])
}

const [medicare, aetna] = ['medicare', 'aetna']
const R: Visit = { paid: 10, region: 'us', payer: medicare, code: '99213' }
const E: Visit[] = [
  { paid: 50, region: 'eu', payer: medicare, code: '99213' },
  { paid: 100, region: 'us', payer: medicare, code: '99214' },
  { paid: 250, region: 'eu', payer: aetna, code: '99213' },
  { paid: 400, payer: aetna, code: '99213' },
]
/** What each charge costs by `quote` for the same events. */
const quoted = (visits: readonly Visit[]) =>
  CHARGES.map(({ meter, price }) => {
    const events = visits.map(({ paid, ...properties }) => ({
      value: meter === 'visits' ? '1' : String(paid),
      properties,
    }))
    return (quoteCase({ kind: 'price', currency: 'USD', price, events }) as { amount: string }).amount
  })
/** A true-up stands beside its charge. */
const amountsOf = ({ lines }: Pick<Billed, 'lines'>) =>
  CHARGES.map(({ key }) =>
    lines.reduce((sum, { charge, amount }) => (charge === key ? sum + Number(amount) : sum), 0).toFixed(2),
  )
const lineOf = ({ lines }: Billed, charge: string) => lines.find((line) => line.charge === charge)!
const verify = (number: string) => get(`/invoices/${number}/verification`)

beforeAll(async () => {
  metering = await openMetering()
  tenant = await metering.tenant('visits')
  const { clock, store, database } = metering
  await tenant.call('PUT', '/event-types/visit', { schema: SCHEMA })
  await tenant.call('PUT', '/meters/visits', { event_type: 'visit', aggregation: 'count' })
  await tenant.call('PUT', '/meters/paid', { event_type: 'visit', aggregation: 'sum', value: 'paid' })
  await tenant.call('PUT', '/meters/most', { event_type: 'visit', aggregation: 'max', value: 'paid' })
  const usage = createClickHouseUsageReader(store)
  doors = buildDoors(database, { usage, events: createClickHouseEventReader(store), now: () => clock.nowMs })
  sealer = startSealer(database, tenant.id, usage)
  const charges = CHARGES.map((charge) => ({ name: charge.key, ...charge }))
  await post('/plans', { ...PLAN, key: 'visits', name: 'Visits', charges })
})
afterAll(async () => {
  await sealer.stop()
  await doors.invoicer.stop()
  await doors.app.close()
  await metering.close()
})

const PLAN = { currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0, fees: 'in_arrears' }
const subscribe = async (name: string, plan: string, start: string, end?: string) => {
  await post('/customers', { external_key: name, currency: 'USD', subjects: [name, `${name}-2`] })
  await post('/subscriptions', { external_key: name, customer: name, plan, start, ...(end ? { end } : {}) })
}

describe('prices that need single events (issue 7), through REST', () => {
  let invoice: Billed

  test('are billed as quote prices the same events: voided, moved, repeated and foreign ones as everywhere', async () => {
    await subscribe('acme', 'visits', '2026-11-05T00:00:00Z', '2026-11-15T00:00:00Z')
    await send(...E.map((data, n) => visit(`e${n}`, n % 2 ? 'acme-2' : 'acme', 6 + n, data)))
    await send(visit('e1', 'acme', 6, { paid: 7 }), visit('voided', 'acme', 6, { paid: 900, region: 'eu' }))
    await send(visit('outside', 'acme', 15, { paid: 800 }), visit('given', 'somebody', 7, { paid: 1 }))
    await correct('void', 'voided')
    // The first of them by its time, though it came last.
    await correct('replace', 'given', { type: 'visit', subject: 'acme', ...at(5, 1), data: R })
    await rebuild()
    const amounts = ['17.00', '5.50', '11.75', '11.53', '168.50', '0.13']
    expect(quoted([R, ...E])).toEqual(amounts)
    ;[invoice] = (await run('acme')) as [Billed]
    expect(amountsOf(invoice)).toEqual(amounts)
    expect(invoice.lines.length).toBe(CHARGES.length)
  })

  test('HC-13: a line lists payer and code of its events with their quantities, and the period that it is for', () => {
    expect(lineOf(invoice, 'cells')).toMatchObject({
      ...{ period_start: '2026-11-05T00:00:00.000Z', period_end: '2026-11-15T00:00:00.000Z', events: 5 },
      attributes: {
        names: ['payer', 'code'],
        combinations: [
          { values: [aetna, '99213'], quantity: '2', events: 2 },
          { values: [medicare, '99213'], quantity: '2', events: 2 },
          { values: [medicare, '99214'], quantity: '1', events: 1 },
        ],
        other: null,
      },
      breakdown: [
        { type: 'cell', cell: 1, quantity: '2', unit_amount: '5', amount: '10' },
        { type: 'cell', cell: 2, quantity: '2', unit_amount: '3', amount: '6' },
        { type: 'cell', cell: null, quantity: '1', unit_amount: '1', amount: '1' },
      ],
    })
    expect(lineOf(invoice, 'order').attributes).toBeNull()
  })

  test('are explained from what is stored, and verified from raw events', async () => {
    for (const line of invoice.lines) {
      const explained = await get<Json>(`/invoices/${invoice.id}/lines/${line.index}/explain`)
      expect([line.charge, explained.equal, (explained.tree as Json).output]).toEqual([line.charge, true, line.amount])
    }
    expect(await verify(invoice.number)).toMatchObject({ equal: true, difference: null })
  })

  test('what comes late is the difference of the prices of all events, also where it is the first by its time', async () => {
    const early: Visit = { paid: 20, region: 'eu', payer: aetna, code: '99215' }
    await send(visit('late', 'acme', 5, early))
    await correct('void', 'e3')
    await rebuild()
    const now = quoted([early, R, ...E].filter(({ paid }) => paid !== 400))
    const [, late] = (await run('acme')) as [Billed, Billed]
    const back = await get<{ credit_notes: { subtotal: string }[] }>(`/invoices/${invoice.id}/credit-notes`)
    const change = (amounts: readonly string[]) => amounts.reduce((sum, amount) => sum + Number(amount), 0)
    const given = back.credit_notes.reduce((sum, { subtotal }) => sum + Number(subtotal), 0)
    expect((Number(late.total) - given).toFixed(2)).toBe((change(now) - change(quoted([R, ...E]))).toFixed(2))
    const cells = lineOf(late, 'cells')
    // 3 × 5 + 2 × 3 instead of 17.00.
    expect([cells.amount, cells.attributes?.combinations.map(({ values }) => values[1])]).toEqual([
      '4.00',
      ['99213', '99215', '99213', '99214'],
    ])
    expect(await verify(late.number)).toMatchObject({ equal: true, difference: null })
    expect(await verify(invoice.number)).toMatchObject({ equal: true, difference: null })
  })

  test('what is stored of events and is not what they come to is found', async () => {
    const planted = (from: string, to: string) =>
      asOwner(
        `UPDATE billed_usage SET counted = replace(counted::text, $3, $4)::jsonb
         WHERE tenant_id = $1 AND invoice_id = $2 AND charge_key = 'cells'`,
        [tenant.id, invoice.id, from, to],
      )
    await planted('99214', '99217')
    const difference = { where: 'events', line: 0, what: 'counted' }
    expect(await verify(invoice.number)).toMatchObject({ equal: false, difference })
    await planted('99217', '99214')
    expect(await verify(invoice.number)).toMatchObject({ equal: true })
    // The same number of visits, in another cell.
    await metering.store.command(
      `ALTER TABLE events UPDATE data = replaceOne(data, '"eu"', '"us"') WHERE id = 'e0' SETTINGS mutations_sync = 2`,
    )
    expect(await verify(invoice.number)).toMatchObject({ equal: false, difference })
  })
})

test('a change of plan inside the period cuts it: each part has free events and included units from zero', async () => {
  const price = { ...percentage, rate: '10', free_events: '1' }
  const charges = (eu: string) => [
    { key: 'share', name: 'Share', meter: 'paid', price },
    { key: 'cell', name: 'Cell', meter: 'visits', price: byRegion(eu, '0', '0'), attributes: ['payer'] },
  ]
  for (const [key, eu] of [['one', '1'] as const, ['two', '2'] as const]) {
    await post('/plans', { ...PLAN, key, name: key, charges: charges(eu) })
  }
  await subscribe('beta', 'one', '2026-11-01T00:00:00Z')
  metering.clock.nowMs = Date.UTC(2026, 10, 21)
  const headers = { 'x-tenant': String(tenant.id), 'idempotency-key': 'change' }
  const url = '/api/v1/subscriptions/beta'
  expect((await doors.app.inject({ method: 'PATCH', url, headers, payload: { plan: 'two' } })).statusCode).toBe(200)
  // A payer with a zero byte, which Postgres does not keep.
  const odd = { region: 'eu', payer: '\0' }
  await send(...[10, 11, 12].map((day) => visit(`b${day}`, 'beta', day, { paid: day, ...odd })))
  metering.clock.nowMs = Date.UTC(2026, 10, 26)
  await send(...[22, 23].map((day) => visit(`b${day}`, 'beta', day, { paid: day, region: 'eu' })))
  metering.clock.nowMs = Date.UTC(2026, 11, 1)
  await rebuild()
  const preview = await get<{ lines: Line[] }>('/subscriptions/beta/preview?at=2026-11-30T00:00:00Z')
  const [invoice] = (await run('beta')) as [Billed]
  const shown = (lines: Line[]) => lines.map(({ plan, charge, amount, events }) => [plan, charge, amount, events])
  expect(shown(invoice.lines)).toEqual([
    ['one', 'share', '2.30', 3],
    ['one', 'cell', '3.00', 3],
    ['two', 'share', '2.30', 2],
    ['two', 'cell', '4.00', 2],
  ])
  expect(shown(preview.lines)).toEqual(shown(invoice.lines))
  const payers = invoice.lines.map(({ attributes }) => attributes?.combinations.map(({ values }) => values[0]))
  expect(payers).toEqual([undefined, ['\uFFFD'], undefined, [null]])
  expect(await verify(invoice.number)).toMatchObject({ equal: true, difference: null })
})

test('a plan refuses what its meter cannot give: single events of a maximum, and properties of them', async () => {
  const refused = async (charge: object) => {
    const charges = [{ key: 'c', name: 'c', ...charge }]
    const answer = await doors.call(tenant.id, 'POST', '/plans', { ...PLAN, key: 'no', name: 'no', charges })
    return [answer.status, answer.body.detail ?? answer.body]
  }
  const unit = { model: 'per_unit', unit_amount: '1' }
  for (const charge of [
    { meter: 'most', price: byRegion('1', '1', '1') },
    { meter: 'most', price: { ...percentage, fixed_amount: '1' } },
    { meter: 'most', price: unit, attributes: ['payer'] },
    { meter: 'paid', price: unit, attributes: ['payer', 'payer'] },
    { meter: 'paid', price: unit, attributes: ['who pays?'] },
    { price: { model: 'flat', amount: '1' }, attributes: ['payer'] },
  ]) {
    expect([charge, (await refused(charge))[0]]).toEqual([charge, 400])
  }
})

/** A change that the product's own role may not make. */
async function asOwner(sql: string, params: unknown[]): Promise<void> {
  const client = new pg.Client({ connectionString: metering.database.ownerUrl })
  await client.connect()
  try {
    expect((await client.query(sql, params)).rowCount).toBe(1)
  } finally {
    await client.end()
  }
}
