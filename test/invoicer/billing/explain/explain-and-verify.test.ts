import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rebuildTenant } from '../../../../aggregator/rebuild/rebuild.ts'
import { createClickHouseEventReader } from '../../../../invoicer/billing/explain/events.clickhouse.ts'
import type { ExplainNode } from '../../../../invoicer/billing/explain/node.ts'
import { createClickHouseUsageReader } from '../../../../invoicer/billing/usage.clickhouse.ts'
import {
  cloudEvent,
  type Json,
  LLM_SCHEMA,
  type Metering,
  openMetering,
  type Tenant,
} from '../../../support/metering.ts'
import { type Answer, buildDoors } from '../../support/doors.ts'
import { startSealer } from '../../support/world.ts'

const HOUR_MS = 3_600_000
const graduated = {
  model: 'graduated',
  tiers: [
    { up_to: '100', unit_amount: '0.333', flat_amount: '10' },
    { up_to: null, unit_amount: '0.25', flat_amount: '1' },
  ],
  discount_percent: '5',
}
/** An aggregation of each sort, each with a charge. */
const METERS: Record<string, { input: Json; price: Json }> = {
  sum: { input: { aggregation: 'sum', value: 'tokens' }, price: graduated },
  count: {
    input: { aggregation: 'count', filter: { equals: { path: 'model', value: 'large' } } },
    price: { model: 'per_unit', unit_amount: '1', minimum_amount: '90' },
  },
  ...Object.fromEntries(
    ['max', 'unique_count', 'latest', 'time_weighted_sum', 'percentile'].map((aggregation) => [
      aggregation,
      {
        input: { aggregation, value: 'tokens', ...(aggregation === 'percentile' ? { percentile: '90' } : {}) },
        price: { model: 'per_unit', unit_amount: '0.01' },
      },
    ]),
  ),
}

let metering: Metering
let tenant: Tenant
let doors: ReturnType<typeof buildDoors>
type Line = { index: number; charge: string; quantity: string | null; events: number | null }
type Billed = { id: string; number: string; lines: Line[] }
let invoice: Billed
let builds = 0
let sealer: ReturnType<typeof startSealer>

const get = (url: string): Promise<Answer> => doors.call(tenant.id, 'GET', url)
/** In another hour than anything became known in, usage as of now is read from rollups. */
async function rebuild(): Promise<void> {
  const { clock, store } = metering
  const now = () => Date.now() + 2 * HOUR_MS
  const logger = pino({ level: 'silent' })
  while ((await rebuildTenant({ store, logger, now, random20: () => builds++ }, tenant.id)) > 0) {}
  clock.nowMs += 2 * HOUR_MS
}
/** A run until there are so many invoices; the newest first. */
async function invoicesOf(count: number): Promise<Billed[]> {
  expect((await doors.call(tenant.id, 'POST', '/billing-runs', {})).status).toBe(202)
  for (;;) {
    const invoices = (await get('/invoices?customer=acme')).body.invoices as Billed[]
    if (invoices.length >= count) return invoices.reverse()
    await sleep(20)
  }
}
/** A change that the product's own role may not make. */
async function asOwner(sql: string, params: unknown[]): Promise<void> {
  const client = new pg.Client({ connectionString: metering.database.ownerUrl })
  await client.connect()
  try {
    await client.query(sql, params)
  } finally {
    await client.end()
  }
}

beforeAll(async () => {
  metering = await openMetering()
  const { clock, store, database } = metering
  tenant = await metering.tenant('explained')
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  for (const [slug, { input }] of Object.entries(METERS)) {
    const { status, body } = await tenant.call('PUT', `/meters/${slug}`, { event_type: 'llm.request', ...input })
    expect([status, body]).toEqual([200, body])
  }
  const usage = createClickHouseUsageReader(store)
  const events = createClickHouseEventReader(store)
  doors = buildDoors(database, { usage, events, now: () => clock.nowMs })
  await setUp()
  await sendEvents()
  await metering.settled()
  await rebuild()
  sealer = startSealer(database, tenant.id, usage)
  ;[invoice] = (await invoicesOf(1)) as [typeof invoice]
})
afterAll(async () => {
  await sealer.stop()
  await doors.invoicer.stop()
  await doors.app.close()
  await metering.close()
})

/** Ten days of November are billed. */
async function setUp(): Promise<void> {
  const post = async (url: string, body: object) => {
    const answer = await doors.call(tenant.id, 'POST', url, body)
    expect([answer.status, answer.body]).toEqual([201, answer.body])
  }
  await post('/customers', { external_key: 'acme', currency: 'USD', subjects: ['acme', 'acme-2'] })
  await post('/plans', {
    ...{ key: 'llm', name: 'LLM', currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0 },
    fees: 'in_arrears',
    charges: [
      { key: 'base', name: 'Base fee', price: { model: 'flat', amount: '20.00', discount_percent: '7' } },
      ...Object.entries(METERS).map(([key, { price }]) => ({ key, name: `Charge ${key}`, meter: key, price })),
    ],
  })
  const [start, end] = ['2026-11-05T00:00:00Z', '2026-11-15T00:00:00Z']
  await post('/subscriptions', { external_key: 'acme', customer: 'acme', plan: 'llm', start, end })
}

/** Those that count are 1 to 40 tokens; all others would be seen in every number. */
async function sendEvents(): Promise<void> {
  const send = async (...batch: Json[]) => {
    metering.clock.nowMs += 1_000
    expect((await tenant.send(JSON.stringify(batch))).status).toBe(202)
  }
  const at = (day: number, minute = 0) => ({ time: new Date(Date.UTC(2026, 10, day, 0, minute)).toISOString() })
  const many = Array.from({ length: 40 }, (_, n) => {
    const model = n % 2 === 0 ? 'large' : 'small'
    const subject = n % 3 === 0 ? 'acme-2' : 'acme'
    return cloudEvent(`e-${n}`, { tokens: (n % 25) + 1, model }, { subject, ...at(5 + (n % 10), n) })
  })
  await send(...many)
  await send(many[3]!, many[4]!, cloudEvent('e-5', { tokens: 900 }, { subject: 'acme', ...at(6) }))
  // C6: without its time, and with another one.
  await send(cloudEvent('e-6', { tokens: 7, model: 'large' }, { subject: 'acme-2' }))
  await send(cloudEvent('e-7', { tokens: 8 }, { subject: 'acme', ...at(20) }))
  await send(cloudEvent('before', { tokens: 3 }, { subject: 'acme', ...at(4) }))
  await send(cloudEvent('after', { tokens: 800 }, { subject: 'acme', ...at(15) }))
  await send(cloudEvent('other', { tokens: 700 }, { subject: 'somebody', ...at(7) }))
  await send(cloudEvent('voided', { tokens: 600 }, { subject: 'acme', ...at(7) }))
  await send(cloudEvent('taken', { tokens: 500 }, { subject: 'acme', ...at(8) }))
  await send(cloudEvent('given', { tokens: 400 }, { subject: 'somebody', ...at(9) }))
  const correct = async (kind: 'void' | 'replace', id: string, subject?: string) => {
    const event = { type: 'llm.request', subject, time: at(9).time, data: { tokens: 11, model: 'large' } }
    const body = { source: 'test', id, reason: 'a test', ...(subject ? { event } : {}) }
    metering.clock.nowMs += 1_000
    const answer = await tenant.call('POST', `/events/${kind}`, body)
    expect([answer.status, answer.body]).toEqual([202, answer.body])
  }
  await correct('void', 'voided')
  await correct('replace', 'taken', 'somebody')
  await correct('replace', 'given', 'acme')
}

const lineOf = (charge: string): Line => invoice.lines.find((line) => line.charge === charge)!
const explainOf = async ({ id }: Billed, line: number) => (await get(`/invoices/${id}/lines/${line}/explain`)).body
const explain = (line: number) => explainOf(invoice, line)
const verify = async () => (await get(`/invoices/${invoice.number}/verification`)).body

describe('a billed invoice', () => {
  test('is explained line by line: each step takes what the one before it gave, and the last gives the amount', async () => {
    expect(invoice.lines.length).toBe(9)
    for (const line of invoice.lines) {
      const { tree, amount, equal, difference } = await explain(line.index)
      expect([line.charge, equal, difference]).toEqual([line.charge, true, null])
      const { parts, output } = tree as ExplainNode
      expect(output).toBe(amount)
      for (const [place, part] of parts.entries()) expect(part.input).toBe(parts[place - 1]?.output ?? part.input)
      expect(parts.at(-1)?.output).toBe(amount)
    }
  })

  test('of which a graduated line over a third of a month shows tiers, proration, discount and the one rounding', async () => {
    const { tree, price, seal } = await explain(lineOf('sum').index)
    const steps = (tree as ExplainNode).parts.map(({ label, rule, output }) => `${label}: ${rule} = ${output}`)
    expect(steps.slice(1)).toEqual([
      'Meter sum: sum over times from 2026-11-05T00:00:00.000Z until before 2026-11-15T00:00:00.000Z = 456',
      'Price: the sum of the parts = 133.3',
      'Proration (seconds): 122.3 + 11 × 864000 ÷ 2592000 = 125.9666666666666666666666666666666666666667',
      expect.stringMatching(/^Discount: .* × 5 ÷ 100 = 119\.66833333333333333333333333333333333333\d\d$/),
      'Rounding: to 2 places, halves away from zero = 119.67',
    ])
    expect(price).toEqual(graduated)
    expect(seal).toMatchObject({ quantity: '456', events: 41 })
  })

  test('has pages of exactly the events that each line counted', async () => {
    for (const { index, charge, events } of invoice.lines) {
      const found: { id: string; quantity: string }[] = []
      for (let after = ''; ; ) {
        const { body } = await get(`/invoices/${invoice.id}/lines/${index}/events?limit=17${after}`)
        const page = body.events as typeof found
        expect(page.length).toBeLessThanOrEqual(17)
        found.push(...page)
        if (body.next === null) break
        after = `&after=${String(body.next)}`
      }
      expect([charge, found.length]).toEqual([charge, events ?? 0])
      const ids = new Set(found.map(({ id }) => id))
      expect(ids.size).toBe(found.length)
      for (const id of ['before', 'after', 'other', 'voided', 'taken']) expect(ids).not.toContain(id)
      if (charge !== 'sum') continue
      expect(found.reduce((sum, { quantity }) => sum + Number(quantity), 0)).toBe(456)
      expect(found.find(({ id }) => id === 'given')).toMatchObject({ quantity: '11', subject: 'acme', corrected: true })
      expect(found.find(({ id }) => id === 'e-5')).toMatchObject({ quantity: '6' })
    }
    expect((await get(`/invoices/${invoice.id}/lines/1/events?after=nonsense`)).status).toBe(400)
    expect((await get(`/invoices/${invoice.id}/lines/99/explain`)).status).toBe(404)
    expect((await get('/invoices/INV-000099/verification')).status).toBe(404)
  })

  test('is what raw events, plan and seal come to', async () => {
    const answer = await verify()
    expect(answer).toMatchObject({ number: 'INV-000001', equal: true, difference: null })
    expect(answer.checked).toMatchObject({ lines: 9, seals: 1 })
    const other = await metering.database.createTenant('stranger')
    expect((await doors.call(other, 'GET', `/invoices/${invoice.id}/verification`)).status).toBe(404)
  })
})

test('what came in since is billed as a difference, and that is explained and verified in the same way', async () => {
  metering.clock.nowMs += 1_000
  const late = cloudEvent('late', { tokens: 5, model: 'large' }, { subject: 'acme', time: '2026-11-06T00:00:00Z' })
  expect((await tenant.send(JSON.stringify(late))).status).toBe(202)
  await metering.settled()
  await rebuild()
  const [second] = await invoicesOf(2)
  const { index } = second!.lines.find(({ charge }) => charge === 'sum')!
  expect(await explainOf(second!, index)).toMatchObject({ equal: true, amount: '1.19', seal: { quantity: '461' } })
  const { tree } = await explainOf(second!, index)
  expect((tree as ExplainNode).parts.at(-1)).toMatchObject({ label: 'Less what was billed', rule: '120.86 - 119.67' })
  const { body } = await get(`/invoices/${second!.id}/lines/${index}/events?limit=999`)
  expect((body.events as { id: string }[]).map(({ id }) => id)).toContain('late')
  expect((await get(`/invoices/${second!.number}/verification`)).body).toMatchObject({ equal: true, difference: null })
})

/** Each is planted, found and named, and taken back. */
describe('what is wrong is found and named', () => {
  const planted = (table: string, set: string, line: number) =>
    asOwner(`UPDATE ${table} SET ${set} WHERE tenant_id = $1 AND invoice_id = $2 AND line_index = $3`, [
      ...[tenant.id, invoice.id, line],
    ])

  test('an amount of a line', async () => {
    const { index } = lineOf('sum')
    await planted('invoice_lines', 'amount_minor = amount_minor - 1', index)
    expect(await verify()).toMatchObject({
      equal: false,
      difference: { where: 'rating', line: index, what: 'amount', expected: '119.67', found: '119.66' },
    })
    expect(await explain(index)).toMatchObject({
      equal: false,
      difference: 'Plan and usage come to 119.67, 119.66 is stored.',
      tree: { output: '119.66' },
    })
    await planted('invoice_lines', 'amount_minor = amount_minor + 1', index)
  })

  test('how a line says it came about', async () => {
    await planted(
      'invoice_lines',
      `breakdown = jsonb_set(breakdown, '{0,unit_amount}', '"0.334"')`,
      lineOf('sum').index,
    )
    expect(await verify()).toMatchObject({ difference: { where: 'rating', what: 'breakdown' } })
    await planted(
      'invoice_lines',
      `breakdown = jsonb_set(breakdown, '{0,unit_amount}', '"0.333"')`,
      lineOf('sum').index,
    )
  })

  test('a quantity that was billed', async () => {
    const { index } = lineOf('max')
    await planted('billed_usage', 'quantity = quantity + 1', index)
    const difference = { where: 'events', line: index, what: 'quantity', expected: '25', found: '26' }
    expect(await verify()).toMatchObject({ equal: false, difference })
    await planted('billed_usage', 'quantity = quantity - 1', index)
  })

  test('a total', async () => {
    const change = (sign: string) =>
      asOwner(
        `UPDATE invoices SET subtotal_minor = subtotal_minor ${sign} 1, total_minor = total_minor ${sign} 1,
           amount_due_minor = amount_due_minor ${sign} 1 WHERE tenant_id = $1`,
        [tenant.id],
      )
    await change('+')
    expect(await verify()).toMatchObject({ difference: { where: 'total', line: null, what: 'subtotal' } })
    await change('-')
  })

  test('usage that rollups have and nobody sent', async () => {
    await metering.store.command(
      `INSERT INTO usage_rollup (tenant, meter, subject, bucket, group_values, known_hour, shard, run, quantity, events, digest)
       SELECT tenant, meter, subject, bucket, group_values, known_hour, shard, run, 5, 1, 1 FROM usage_rollup
       WHERE tenant = {tenant:UInt32} AND meter = 'sum' AND subject = 'acme' AND bucket = '2026-11-06 00:01:00'
       ORDER BY run DESC LIMIT 1`,
      { tenant: tenant.id },
    )
    expect(await verify()).toMatchObject({
      difference: { where: 'rollup', line: lineOf('sum').index, what: 'quantity', expected: '456', found: '461' },
    })
  })

  test('an event that is gone', async () => {
    await metering.store.command(`ALTER TABLE events DELETE WHERE id = 'e-0' SETTINGS mutations_sync = 2`)
    expect(await verify()).toMatchObject({
      difference: { where: 'events', line: lineOf('sum').index, what: 'quantity', expected: '455', found: '456' },
    })
  })
})
