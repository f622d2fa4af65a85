import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { type Counted, countingDetail, detailOf, usedBy } from '../../../invoicer/billing/counted.ts'
import { quoteCase } from '../../../invoicer/billing/quote/quote.ts'
import type { Price } from '../../../invoicer/billing/rating/price.ts'
import { rateCharge } from '../../../invoicer/billing/rating/rate.ts'
import { createClickHouseUsageReader } from '../../../invoicer/billing/usage.clickhouse.ts'
import type { MeteredUsage, UsageRequest } from '../../../invoicer/billing/usage.ts'
import { readByEvent } from '../../../invoicer/billing/usage-by-event.clickhouse.ts'
import { statementsOf } from '../../../ops/migrate/migrate.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import { encodeOperation } from '../../../schemas/event/operation.ts'
import type { UsageEvent } from '../../../schemas/event/usage-event.ts'
import { schemaFile } from '../../../schemas/files.ts'
import type { FilterInput } from '../../../schemas/meter/filter.ts'
import { formatMoney } from '../../../schemas/money.ts'
import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { type EventChange, logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'
import { runs } from '../../support/runs.ts'
import { type Payload, type Scenario, scenario, WAVES } from './by-event-scenarios.ts'

// A bound against hanging, not a promise: other work may share the machine.
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const [START, END] = [NOVEMBER_20 - 4 * HOUR_MS, NOVEMBER_20 - 3 * HOUR_MS]
/** When what comes in a wave is known; each event of it has a place of its own in the log. */
const knownAt = (wave: number) => NOVEMBER_20 + wave * HOUR_MS

/** Beside the plain meter one of everything that a meter can say: an expression, a filter, versions. */
const SECOND = { event_type: 'llm.request', aggregation: 'sum' } as const
let store: ClickHouseStore
let tenant = 0
beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())

/** What of a scenario is known by its moment and counts for its subject, in order. */
function counted({ events, knownWaves }: Scenario): { value: string; properties: object }[] {
  return events
    .filter(({ wave }) => wave < knownWaves)
    .map((one, place) => ({
      ...(one.then && one.then.at < knownWaves ? one.then.replacement : one),
      wave: one.wave,
      place,
    }))
    .filter((one): one is Payload & { wave: number; place: number } => one.minute !== undefined && one.own === true)
    .filter(({ minute }) => minute >= 0 && minute < 60)
    .sort((a, b) => a.minute - b.minute || a.wave - b.wave || a.place - b.place)
    .map(({ value, region }) => ({ value, properties: { 'place.region': region } }))
}

const subjectOf = (index: number, own: boolean) => (own ? `s-${index}` : 'somebody else')
const dataOf = ({ value, region }: Payload) => ({ tokens: value, place: region === undefined ? {} : { region } })

/** Everything in its wave, with a copy of every event that came too late to count. */
async function send(scenarios: readonly Scenario[]): Promise<void> {
  const waves: UsageEvent[][] = Array.from({ length: WAVES }, () => [])
  for (const [index, { events }] of scenarios.entries()) {
    for (const [place, one] of events.entries()) {
      const id = `${index}/${String(place).padStart(2, '0')}`
      const timeMs = START + one.minute * MINUTE_MS
      waves[one.wave]!.push(
        usageEvent(id, { tenant, subject: subjectOf(index, one.own), timeMs, data: dataOf(one) }),
        usageEvent(id, { tenant, subject: subjectOf(index, true), timeMs: START, data: { tokens: '999' } }),
      )
    }
  }
  // A wave's operations come behind its events.
  for (const [index, { events }] of scenarios.entries()) {
    for (const [place, { then }] of events.entries()) {
      if (then === null) continue
      const { replacement } = then
      const operation = encodeOperation({
        ...{ operation: `o-${place}`, reason: 'a test', by: 'k' },
        ...(replacement && {
          replacement: {
            ...{ type: 'llm.request', subject: subjectOf(index, replacement.own) },
            ...{ timeMs: START + replacement.minute * MINUTE_MS, dataJson: JSON.stringify(dataOf(replacement)) },
          },
        }),
      })
      const type = replacement === null ? 'tallyline.void' : 'tallyline.replace'
      const id = `${index}/${String(place).padStart(2, '0')}`
      waves[then.at]!.push(usageEvent(id, { tenant, type, data: JSON.parse(operation) as object }))
    }
  }
  for (const [wave, events] of waves.entries()) {
    if (events.length === 0) continue
    await insertRecords(store, `log-${tenant}`, [logRow(events, { knownAtMs: knownAt(wave), offset: wave })])
  }
}

const amountOf = (price: Price, usage: MeteredUsage) =>
  formatMoney(rateCharge(price, usage.quantity, 'USD', usedBy(price, usage)).amountMinor, 'USD')
const requestOf = (key: string, subjects: string[], price: Price, attributes: string[] = []): UsageRequest => {
  const detail = detailOf({ key: 'c', name: 'c', meter: 'tokens', price, attributes })
  return { key, meter: 'tokens', subjects, startMs: START, endMs: END, ...(detail ? { detail } : {}) }
}

/** Issue 7: what a run reads is rated as the quote of the same events, whatever was voided, replaced, copied or late. */
test('usage as of any moment is priced as quote prices the events that count then, in their order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(scenario, { minLength: 30, maxLength: 60 }), async (scenarios) => {
      tenant += 1
      await copyMeter(
        store,
        tenant,
        'tokens',
        { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' },
        { revision: 1 },
      )
      await send(scenarios)
      const reader = createClickHouseUsageReader(store)
      const answers = new Map<string, MeteredUsage>()
      for (let waves = 1; waves <= WAVES; waves++) {
        const requests = scenarios.flatMap(({ price, knownWaves }, index) =>
          knownWaves === waves ? [requestOf(String(index), [`s-${index}`], price)] : [],
        )
        const found = await reader.quantities(tenant, new Date(knownAt(waves)), requests)
        for (const [key, usage] of found) answers.set(key, usage)
      }
      for (const [index, one] of scenarios.entries()) {
        const events = counted(one)
        const usage = answers.get(String(index))!
        const quote = quoteCase({ kind: 'price', currency: 'USD', price: one.price, events }) as { amount: string }
        expect([index, usage.events, amountOf(one.price, usage)]).toEqual([index, events.length, quote.amount])
      }
    }),
    // A smaller world would be made of other worlds: what differs is told by its index.
    { numRuns: runs(1), endOnFailure: true },
  )
})

describe('what cannot be told from events is refused with what to do', () => {
  const asked = async (mostInOrder: number, change: Partial<MeteredUsage> = {}, asOfMs = knownAt(WAVES)) => {
    const price: Price = { model: 'percentage', rate: '1', fixed_amount: '2', free_events: '1' }
    const { detail, ...request } = requestOf('k', ['many'], price)
    const reader = createClickHouseUsageReader(store)
    const total = (await reader.quantities(tenant, new Date(knownAt(WAVES)), [request])).get('k')!
    const one = { request, detail: detail!, total: { ...total, ...change } }
    const found = (await readByEvent(store, tenant, asOfMs, [one], mostInOrder)).get('k')!
    return { found, rated: () => amountOf(price, found) }
  }
  beforeAll(async () => {
    tenant += 1
    await copyMeter(store, tenant, 'tokens', { ...SECOND, value: 'tokens' }, { revision: 1 })
    const events = Array.from({ length: 30 }, (_, n) => {
      return usageEvent(`m-${n}`, { tenant, subject: 'many', timeMs: START + n * MINUTE_MS, data: { tokens: '10' } })
    })
    await insertRecords(store, `log-${tenant}`, [logRow(events, { knownAtMs: knownAt(0), offset: 0 })])
  })

  test('more events of one minute, in order, than may be held', async () => {
    expect((await asked(1)).rated()).toBe('60.90')
    const { rated } = await asked(0)
    expect(rated).toThrow(/in order, and 1 of them are in one minute, that from 2026-11-20T\S+ on, above 0: void those/)
  })

  test('events that do not come to what was sealed; of what is known now more may have come meanwhile', async () => {
    expect((await asked(30, { events: 29 })).rated).toThrow(
      /30 events of 300 instead of 29 events of 300. Run tallyline audit/,
    )
    expect((await asked(30, { digest: 7n })).rated).toThrow('do not come to its usage')
    expect((await asked(30, { events: 29 }, KNOWN_UNTIL_NOW_MS)).rated()).toBe('60.90')
  })

  test('but not more subjects than a statement can name', async () => {
    const nobody = Array.from({ length: 1_500 }, (_, n) => `${"'".repeat(60)}${n}`)
    const price: Price = { model: 'percentage', rate: '1', fixed_amount: '2', free_events: '1' }
    const request = requestOf('k', [...nobody, 'many'], price)
    const found = await createClickHouseUsageReader(store).quantities(tenant, new Date(knownAt(WAVES)), [request])
    expect(amountOf(price, found.get('k')!)).toBe('60.90')
  })

  test('a meter whose values do not add up', async () => {
    await copyMeter(store, tenant, 'most', { ...SECOND, aggregation: 'max', value: 'tokens' }, { revision: 2 })
    const price: Price = { model: 'percentage', rate: '1', min_per_event: '2' }
    const request = { ...requestOf('k', ['many'], price), meter: 'most' }
    const found = await createClickHouseUsageReader(store).quantities(tenant, new Date(knownAt(WAVES)), [request])
    expect(() => amountOf(price, found.get('k')!)).toThrow('Values of meter most do not add up.')
  })
})

/** The view counts as exact_usage does: what differs is refused, whatever a meter says. */
test('events of meters with expressions, filters and versions come to what exact usage says, in any slices', async () => {
  tenant += 1
  const filter: FilterInput = {
    or: [{ equals: { path: 'kind', value: 'a' } }, { compare: { path: 'n', op: 'gt', value: '4' } }],
  }
  const meter = { ...SECOND, value: 'tokens * n / 7', filter } as const
  await copyMeter(store, tenant, 'tokens', meter, { revision: 1 })
  const later = { revision: 2, version: 2, effectiveFromMs: START + 20 * MINUTE_MS }
  await copyMeter(store, tenant, 'tokens', { ...meter, value: 'tokens + 0.5 * n' }, later)
  const values: unknown[] = ['2.5', 3, '0.000000000001', -4, 'many', 1e25, null, 12345678901, true, '9'.repeat(26)]
  const events = Array.from({ length: 240 }, (_, n) => {
    const data = { tokens: values[n % 10], n: values[Math.floor(n / 10) % 10], kind: ['a', 'b', 7][n % 3] }
    const subject = `s-${n % 4}`
    return usageEvent(`x-${n}`, { tenant, subject, timeMs: START + (n % 60) * MINUTE_MS, data })
  })
  await insertRecords(store, `log-${tenant}`, [logRow(events, { knownAtMs: knownAt(0), offset: 0 })])
  const price: Price = { model: 'matrix', dimensions: ['n'], cells: [], default_unit_amount: '1' }
  const requests = Array.from({ length: 4 }, (_, n) => {
    const parts = [
      { startMs: START, endMs: START + (11 + n) * MINUTE_MS },
      { startMs: START + 15 * MINUTE_MS, endMs: END },
    ]
    return { ...requestOf(`k-${n}`, [`s-${n}`, `s-${(n + 1) % 4}`], price, ['kind']), parts }
  })
  const found = await createClickHouseUsageReader(store).quantities(tenant, new Date(knownAt(1)), requests)
  for (const { key } of requests) {
    const { quantity, events, counted } = found.get(key)!
    const { tally, attributes } = counted as Counted
    expect([key, tally]).toEqual([key, { kind: 'cells', cells: [{ cell: null, quantity: formatQuantity(quantity) }] }])
    expect(events).toBeGreaterThan(20)
    const { combinations } = attributes!
    expect(combinations.reduce((sum, one) => sum + one.events, 0)).toBe(events)
    expect(combinations.map(({ values }) => values[0])).toEqual(['7', 'a', 'b'])
  }
})

/** Issue 7: however many events a finished period has, whoever pays by their order can be billed. */
test('events in order are counted slice of time by slice as they are at once, whoever of some subjects they are of', async () => {
  tenant += 1
  await copyMeter(store, tenant, 'tokens', { ...SECOND, value: 'tokens' }, { revision: 1 })
  const events = Array.from({ length: 60 }, (_, n) => {
    const data = { tokens: String(1 + ((n * 13) % 17)), kind: ['a', 'b'][n % 2] }
    const timeMs = START + ((n * 7) % 40) * MINUTE_MS
    return usageEvent(`o-${n}`, { tenant, subject: `s-${n % 3}`, timeMs, data })
  })
  await insertRecords(store, `log-${tenant}`, [logRow(events, { knownAtMs: knownAt(0), offset: 0 })])
  const price: Price = {
    ...{ model: 'percentage', rate: '10' },
    free_events: '9',
    free_units: '44',
    max_per_event: '1',
  }
  const { detail, ...whole } = requestOf('k', ['s-0', 's-1'], price, ['kind'])
  const parts = [
    { startMs: START, endMs: START + 17 * MINUTE_MS },
    { startMs: START + 20 * MINUTE_MS, endMs: END },
  ]
  for (const request of [whole, { ...whole, parts }]) {
    const asOfMs = knownAt(1)
    const found = await createClickHouseUsageReader(store).quantities(tenant, new Date(asOfMs), [
      { ...request, detail: detail! },
    ])
    const { counted, ...total } = found.get('k')!
    expect([request, total.events > 30, counted]).toEqual([
      request,
      true,
      { tally: expect.anything(), attributes: expect.anything() },
    ])
    for (const most of [2, 5, 29]) {
      const sliced = await readByEvent(store, tenant, asOfMs, [{ request, detail: detail!, total }], most)
      expect([most, sliced.get('k')]).toEqual([most, found.get('k')])
    }
  }
})

/** What no cell and no line could show is not carried about. */
test('long texts, lists and objects count as they would in whole, though they are not read in whole', async () => {
  tenant += 1
  await copyMeter(store, tenant, 'tokens', { ...SECOND, value: 'tokens' }, { revision: 1 })
  const long = 'é"\n'.repeat(100)
  const kinds = [long, `${long}x`, long.slice(1), '\0é'.repeat(200), 'x'.repeat(9_000), { long }, [long], 7, null]
  const events = kinds.map((kind, n) =>
    usageEvent(`l-${n}`, { tenant, subject: 's', timeMs: START, data: { tokens: String(2 ** n), kind } }),
  )
  await insertRecords(store, `log-${tenant}`, [logRow(events, { knownAtMs: knownAt(0), offset: 0 })])
  const cell = (kind: string) => ({ when: { kind }, unit_amount: '1' })
  const price: Price = {
    ...{ model: 'matrix', dimensions: ['kind'], default_unit_amount: '3' },
    cells: [cell(long), cell('7'), cell('x'.repeat(256))],
  }
  const request = requestOf('k', ['s'], price, ['kind'])
  const found = await createClickHouseUsageReader(store).quantities(tenant, new Date(knownAt(1)), [request])
  const counting = countingDetail(request.detail!)
  for (const [n, kind] of kinds.entries()) {
    const quantity = parseQuantity(String(2 ** n))
    counting.add({ each: quantity, quantity, events: 1, properties: { kind } })
  }
  expect(found.get('k')?.counted).toEqual(counting.counted())
  expect(counting.counted().tally).toMatchObject({
    cells: [{ cell: 1, quantity: '1' }, { cell: 2, quantity: '128' }, {}],
  })
})

describe('a statement that is too much for the store', () => {
  const price: Price = { model: 'matrix', dimensions: ['kind'], cells: [], default_unit_amount: '1' }
  const read = (fails: (shards: readonly number[]) => boolean, code: string) => {
    const query: ClickHouseStore['query'] = (sql, params) =>
      sql.includes('counted_events') && fails(params?.shards as number[])
        ? Promise.reject(Object.assign(new Error('too much'), { code }))
        : store.query(sql, params)
    const reader = createClickHouseUsageReader({ ...store, query })
    return reader.quantities(tenant, new Date(knownAt(1)), [requestOf('k', ['s'], price)])
  }
  const billed = async (...of: Parameters<typeof read>) => amountOf(price, (await read(...of)).get('k')!)
  beforeAll(async () => {
    tenant += 1
    await copyMeter(store, tenant, 'tokens', { ...SECOND, value: 'tokens' }, { revision: 1 })
    const events = Array.from({ length: 7 }, (_, n) => {
      const event = usageEvent(`f-${n}`, { tenant, subject: 's', timeMs: START, data: { tokens: String(2 ** n) } })
      return { ...event, shard: n }
    })
    await insertRecords(store, `log-${tenant}`, [logRow(events, { knownAtMs: knownAt(0), offset: 0 })])
  })

  test.each([
    ['memory', '241'],
    ['time', '159'],
  ])('of %s is made for fewer shards', async (_what, code) => {
    expect(await billed((shards) => shards.length > 2, code)).toBe('127.00')
  })

  test('for a single shard parks who needs it, and does not fail the others', async () => {
    await expect(billed((shards) => shards.includes(3), '241')).rejects.toThrow(
      'Counting the events of meter tokens in shard 3 one by one took more memory or time',
    )
  })

  test('other errors are no reason to park anybody', async () => {
    await expect(read((shards) => shards.includes(3), '60')).rejects.toThrow('too much')
  })
})

/** The view repeats what exact usage does: where the two differ, whoever is concerned is parked and never billed wrong. */
describe('a bug planted in the view is no wrong amount, but refused', () => {
  const view = statementsOf(schemaFile('clickhouse/0012-counted-events.sql')).find((sql) => sql.includes('VIEW'))!
  const price: Price = { model: 'matrix', dimensions: ['kind'], cells: [], default_unit_amount: '1' }
  const read = async () => {
    const found = await createClickHouseUsageReader(store).quantities(tenant, new Date(knownAt(1)), [
      requestOf('k', ['s'], price),
    ])
    return amountOf(price, found.get('k')!)
  }
  beforeAll(async () => {
    tenant += 1
    const filter: FilterInput = { equals: { path: 'kind', value: 'a' } }
    await copyMeter(store, tenant, 'tokens', { ...SECOND, value: 'tokens', filter }, { revision: 1 })
    // All in one shard: those without anything that counts are not looked into.
    const event = (id: string, tokens: number, change: EventChange = {}): UsageEvent => {
      const one = { tenant, subject: 's', timeMs: START, data: { tokens, kind: 'a' }, ...change }
      return { ...usageEvent(id, one), shard: 7 }
    }
    const operation = encodeOperation({ operation: 'o', reason: 'a test', by: 'k' })
    const waves = [
      [
        ...[event('plain', 3), event('voided', 50), event('twice', 4), event('twice', 7)],
        event('voided', 0, { type: 'tallyline.void', data: JSON.parse(operation) as object }),
        event('other', 60, { data: { tokens: 60, kind: 'b' } }),
      ],
      [event('later', 100)],
    ]
    for (const [wave, events] of waves.entries()) {
      await insertRecords(store, `log-${tenant}`, [logRow(events, { knownAtMs: knownAt(wave), offset: wave })])
    }
  })
  afterAll(() => store.command(view))

  test('without one, it is read', async () => {
    expect(await read()).toBe('7.00')
  })

  test.each([
    ['the last copy counts', 'argMaxIf(data, version, NOT operation)', 'argMinIf(data, version, NOT operation)'],
    ['every copy counts', 'GROUP BY tenant, shard, source, id', 'GROUP BY tenant, shard, source, id, version'],
    ['what is known later counts', 'AND known_at < as_of\n', '\n'],
    ['a void is forgotten', 'empty(operations), first,', 'true, first,'],
    ['the filter is forgotten', 'WHERE empty(filter) OR', 'WHERE true OR'],
  ])('%s', async (_bug, from, to) => {
    expect(view).toContain(from)
    await store.command(view.replace(from, to))
    await expect(read()).rejects.toThrow('do not come to its usage')
  })
})
