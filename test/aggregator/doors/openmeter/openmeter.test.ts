import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Permission } from '../../../../schemas/http/permissions.ts'
import { type Json, type Metering, openMetering } from '../../../support/metering.ts'

/**
 * Issue 5: emitters and queries of OpenMeter work unchanged behind the prefix /openmeter. After its public e2e tests:
 * ingest, batch, content types, deduplication, queries, windows, clock changes.
 */
type Answer = { status: number; type: unknown; text: string; json: Json }
type Row = { value: number; windowStart: string; windowEnd: string; subject: string | null; groupBy: Json }

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
const T0 = Date.UTC(2026, 10, 10)
let metering: Metering
let key: string
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(() => newTenant())

async function newTenant(permissions?: readonly Permission[]): Promise<void> {
  key = `t-${made++}`
  await metering.tenant(key, permissions)
}

async function call(method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown, headers: Json = {}) {
  const response = await metering.app.inject({
    method,
    url: `/openmeter/api/v1${path}`,
    headers: { authorization: `Bearer ${key}`, ...(headers as Record<string, string>) },
    ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
  })
  const type = response.headers['content-type']
  const json = String(type).includes('json') ? response.json<Json>() : {}
  return { status: response.statusCode, type, text: response.body, json } satisfies Answer
}
const JSON_TYPE = { 'content-type': 'application/json' }
const post = (path: string, body: unknown, headers: Json = {}) => call('POST', path, body, { ...JSON_TYPE, ...headers })

function event(type: string, change: Json = {}): Json {
  const time = new Date(T0).toISOString()
  const data = { duration_ms: '100' }
  return { specversion: '1.0', id: randomUUID(), source: 'my-app', type, subject: 'customer-1', time, data, ...change }
}
async function ingest(events: readonly Json[]): Promise<void> {
  const answer = await post('/events', events, { 'content-type': 'application/cloudevents-batch+json' })
  expect(answer).toMatchObject({ status: 204, text: '' })
  await metering.settled()
}
const sum = { aggregation: 'SUM', valueProperty: '$.duration_ms' }
const createMeter = (slug: string, change: Json = sum) => post('/meters', { slug, eventType: slug, ...change })
async function query(path: string): Promise<Row[]> {
  const answer = await call('GET', `/meters/${path}`)
  expect(answer).toMatchObject({ status: 200 })
  return answer.json.data as Row[]
}
const iso = (ms: number) => new Date(ms).toISOString().replace('.000Z', 'Z')
const random = (least: number, most: number) => least + Math.floor(Math.random() * (most - least + 1))

describe('ingest', () => {
  test('events of 30 days are one total', async () => {
    await createMeter('ingest')
    let total = 0
    const events = Array.from({ length: 300 }, () => {
      const duration = random(1, 100)
      total += duration
      return event('ingest', {
        time: new Date(metering.clock.nowMs - random(0, 30 * DAY_MS)).toISOString(),
        data: { duration_ms: String(duration) },
      })
    })
    for (const one of events.slice(0, 20)) {
      const headers = { 'content-type': 'application/cloudevents+json' }
      expect((await call('POST', '/events', one, headers)).status).toBe(204)
    }
    await ingest(events.slice(20))
    expect(await query('ingest/query')).toMatchObject([{ value: total, subject: null, groupBy: {} }])
  })

  test('a meter counts the events from before it, too', async () => {
    await ingest([event('older'), event('older')])
    await createMeter('older')
    expect(await query('older/query')).toMatchObject([{ value: 200 }])
  })

  test('an id sent a thousand times, with times spread over a month, counts once', async () => {
    await createMeter('dedupe', { aggregation: 'COUNT' })
    const id = '52f44f66-020f-4fa9-a733-102a8ef6f515'
    const copies = Array.from({ length: 1_000 }, (_, n) =>
      event('dedupe', { id, time: new Date(T0 + n * 10 * MINUTE_MS).toISOString(), data: {} }),
    )
    for (let at = 0; at < copies.length; at += 250) await ingest(copies.slice(at, at + 250))
    expect(await query('dedupe/query')).toMatchObject([{ value: 1 }])
  })
})

describe('query', () => {
  const CUSTOMERS = [1, 2, 3, 4, 5].map((n) => `customer-${n}`)
  const PATHS = ['/', '/about']

  /** 5 customers × (T0, a minute later, an hour later, a day later), 100 each; the last two from another path. */
  beforeEach(async () => {
    await createMeter('query', { ...sum, groupBy: { method: '$.method', path: '$.path' } })
    const times = [T0, T0 + MINUTE_MS, T0 + 60 * MINUTE_MS, T0 + DAY_MS]
    await ingest(
      times.flatMap((time, place) =>
        CUSTOMERS.map((subject) => {
          const data = { duration_ms: '100', method: 'GET', path: PATHS[place < 2 ? 0 : 1] }
          return event('query', { subject, time: iso(time + 30_000), data })
        }),
      ),
    )
  })

  const row = (value: number, startMs: number, endMs: number, change: Partial<Row> = {}): Row => ({
    value,
    windowStart: iso(startMs),
    windowEnd: iso(endMs),
    subject: null,
    groupBy: {},
    ...change,
  })
  const TOTAL = row(2000, T0, T0 + DAY_MS + MINUTE_MS)

  test('without parameters is one total from the first event’s minute to the last one’s', async () => {
    const answer = await call('GET', '/meters/query/query')
    expect(answer.json).toEqual({ data: [TOTAL] })
  })

  test.each([
    ['MINUTE', MINUTE_MS, [500, 500, 500, 500], [0, MINUTE_MS, 60 * MINUTE_MS, DAY_MS]],
    ['HOUR', 60 * MINUTE_MS, [1000, 500, 500], [0, 60 * MINUTE_MS, DAY_MS]],
    ['DAY', DAY_MS, [1500, 500], [0, DAY_MS]],
  ])('in windows of a %s, without those that have no usage', async (windowSize, length, values, starts) => {
    const answer = await call('GET', `/meters/query/query?windowSize=${windowSize}`)
    const data = values.map((value, n) => row(value, T0 + (starts[n] ?? 0), T0 + (starts[n] ?? 0) + length))
    expect(answer.json).toEqual({ windowSize, data })
  })

  test('in months, in a zone, whole even where the range begins or ends inside', async () => {
    const range = 'from=2026-11-09T00:00:00Z&to=2026-11-12T00:00:00Z'
    const answer = await call('GET', `/meters/query/query?windowSize=MONTH&windowTimeZone=Europe/Budapest&${range}`)
    expect(answer.json).toEqual({
      ...{ from: '2026-11-09T00:00:00Z', to: '2026-11-12T00:00:00Z', windowSize: 'MONTH' },
      data: [row(2000, Date.UTC(2026, 9, 31, 23), Date.UTC(2026, 10, 30, 23))],
    })
  })

  test('of some subjects is a row for each of them', async () => {
    const of = (subject: string) => row(400, T0, T0 + DAY_MS + MINUTE_MS, { subject })
    expect(await query('query/query?subject=customer-1&subject=customer-2')).toEqual(
      ['customer-1', 'customer-2'].map(of),
    )
    expect(await query('query/query?subject=customer-3')).toEqual([of('customer-3')])
    expect(await query('query/query?groupBy=subject')).toEqual(CUSTOMERS.map(of))
    expect(await query('query/query?subject=nobody')).toEqual([])
  })

  test('by groups under their names there, each from its own first event to its last', async () => {
    const rows = await query('query/query?groupBy=path&groupBy=method')
    expect(rows).toEqual([
      row(1000, T0, T0 + 2 * MINUTE_MS, { groupBy: { path: '/', method: 'GET' } }),
      row(1000, T0 + 60 * MINUTE_MS, T0 + DAY_MS + MINUTE_MS, { groupBy: { path: '/about', method: 'GET' } }),
    ])
    expect((await call('GET', '/meters/query/query?groupBy=color')).status).toBe(400)
  })

  test('by POST, with and without a word on what to accept', async () => {
    for (const headers of [{}, { accept: 'application/json' }]) {
      expect((await post('/meters/query/query', {}, headers)).json).toEqual({ data: [TOTAL] })
    }
    const body = { from: iso(T0 + DAY_MS), windowSize: 'DAY', subject: ['customer-1'], groupBy: ['path'] }
    expect((await post('/meters/query/query', body)).json.data).toEqual([
      row(100, T0 + DAY_MS, T0 + 2 * DAY_MS, { subject: 'customer-1', groupBy: { path: '/about' } }),
    ])
  })

  test('as CSV, byte for byte', async () => {
    const csv = { accept: 'text/csv' }
    const line = `${iso(T0)},${iso(T0 + DAY_MS + MINUTE_MS)}`
    for (const answer of [
      await post('/meters/query/query', {}, csv),
      await call('GET', '/meters/query/query', undefined, csv),
    ]) {
      expect(answer).toMatchObject({ status: 200, type: 'text/csv' })
      expect(answer.text).toBe(`window_start,window_end,value\n${line},2000.000000\n`)
    }
    await post('/subjects', [{ key: 'customer-1', displayName: 'One, "the" first' }])
    const bySubject = await call('GET', '/meters/query/query?subject=customer-1&groupBy=method', undefined, csv)
    expect(bySubject.text).toBe(
      `window_start,window_end,subject,subject_display_name,method,value\n${line},customer-1,"One, ""the"" first",GET,400.000000\n`,
    )
  })

  test.each([['windowSize=WEEK'], ['windowTimeZone=Mars/Phobos'], ['from=yesterday'], ['filterGroupBy[path]=/']])(
    'with %s is 400 and not an answer to something else',
    async (parameters) => {
      expect((await call('GET', `/meters/query/query?${parameters}`)).status).toBe(400)
    },
  )

  test('of no meter is 404', async () => {
    expect((await call('GET', '/meters/none/query')).status).toBe(404)
  })
})

describe('aggregations', () => {
  test.each([
    ['SUM', 60],
    ['COUNT', 4],
    ['AVG', 20],
    ['MIN', 10],
    ['MAX', 30],
    ['UNIQUE_COUNT', 3],
    ['LATEST', 20],
  ])('%s of three values and an event without one', async (aggregation, value) => {
    await createMeter('kinds', { aggregation, valueProperty: '$.duration_ms' })
    const values = ['10', 30, '20', undefined]
    await ingest(
      values.map((duration_ms, n) => event('kinds', { time: iso(T0 + n * MINUTE_MS), data: { duration_ms } })),
    )
    expect(await query('kinds/query')).toMatchObject([{ value }])
  })
})

describe('days across a clock change in Los Angeles', () => {
  test.each([
    ['spring', '2026-03-05', '2026-03-12', [3, 23]],
    ['autumn', '2026-10-29', '2026-11-05', [3, 25]],
  ])('in %s follow each other without a gap', async (_season, from, to, [place = 0, hours = 0]) => {
    await createMeter('dst')
    const zone = 'America/Los_Angeles'
    const fromMs = Date.parse(`${from}T18:00:00Z`)
    await ingest(Array.from({ length: 7 }, (_, n) => event('dst', { time: iso(fromMs + n * DAY_MS) })))
    const offset = (day: string) => (day < '2026-03-08' || day > '2026-11-01' ? '-08:00' : '-07:00')
    const range = [from, to].map((day) => encodeURIComponent(`${day}T00:00:00${offset(day)}`))
    const rows = await query(
      `dst/query?windowSize=DAY&windowTimeZone=${zone}&subject=customer-1&from=${range[0]}&to=${range[1]}`,
    )
    expect(rows.map(({ value }) => value)).toEqual(Array(7).fill(100))
    for (const [n, row] of rows.entries()) {
      const clock = new Date(row.windowStart).toLocaleTimeString('en-GB', { timeZone: zone })
      expect(clock).toBe('00:00:00')
      expect(rows[n + 1]?.windowStart ?? row.windowEnd).toBe(row.windowEnd)
    }
    const changed = rows[place]
    expect((Date.parse(changed?.windowEnd ?? '') - Date.parse(changed?.windowStart ?? '')) / 3_600_000).toBe(hours)
  })
})

describe('meters', () => {
  test('are created, listed, found by id and slug, and deleted', async () => {
    const groupBy = { model: '$.model', kind: '$.request.kind' }
    const given = { ...sum, description: 'Time spent', metadata: { a: 'b' }, groupBy }
    const created = await createMeter('first', given)
    expect(created).toMatchObject({ status: 201, json: { slug: 'first', name: 'first', eventType: 'first', ...given } })
    expect(created.json.id).toMatch(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/)
    await createMeter('second')
    expect((await call('GET', '/meters')).json).toMatchObject([{ slug: 'first' }, { slug: 'second' }])
    expect((await call('GET', '/meters?page=2&pageSize=1')).json).toMatchObject([{ slug: 'second' }])
    for (const name of ['first', created.json.id])
      expect((await call('GET', `/meters/${name}`)).json).toEqual(created.json)
    expect(await call('DELETE', `/meters/${created.json.id}`)).toMatchObject({ status: 204, text: '' })
    for (const [method, path] of [
      ['GET', '/meters/first'],
      ['DELETE', '/meters/first'],
      ['GET', '/meters/first/query'],
    ] as const)
      expect((await call(method, path)).status).toBe(404)
    expect((await call('GET', '/meters')).json).toMatchObject([{ slug: 'second' }])
  })

  test('that were deleted may come back, also as something else; ours go on', async () => {
    await ingest([event('again', { data: { duration_ms: '100', n: 7 } })])
    await createMeter('again')
    await call('DELETE', '/meters/again')
    expect((await createMeter('again')).status).toBe(201)
    expect(await query('again/query')).toMatchObject([{ value: 100 }])
    await call('DELETE', '/meters/again')
    expect((await createMeter('again', { aggregation: 'SUM', valueProperty: '$.n' })).status).toBe(201)
    expect(await query('again/query')).toMatchObject([{ value: 7 }])
  })

  test('of a slug that is taken are 409', async () => {
    await createMeter('taken')
    expect(await createMeter('taken')).toMatchObject({ status: 409, json: { code: 'conflict' } })
    expect(await createMeter('taken', { aggregation: 'COUNT' })).toMatchObject({ status: 409 })
  })

  test.each([
    ['no valueProperty', { aggregation: 'SUM' }],
    ['a path with an index', { aggregation: 'SUM', valueProperty: '$.rows[0].n' }],
    ['another aggregation', { aggregation: 'MEDIAN', valueProperty: '$.n' }],
    ['a group named subject', { ...sum, groupBy: { subject: '$.x' } }],
    ['a start of its events', { ...sum, eventFrom: '2026-11-01T00:00:00Z' }],
    ['a slug with a dash', { ...sum, slug: 'a-b' }],
  ])('with %s are 400 with the place', async (_name, change) => {
    expect(await createMeter('wrong', change)).toMatchObject({ status: 400, json: { errors: [{}] } })
    expect((await call('GET', '/meters')).json).toEqual([])
  })
})

describe('subjects', () => {
  test('are answered as given, and keep what a later upsert does not name', async () => {
    const metadata = { hubspotId: '123456' }
    const first = await post('/subjects', [{ key: 'a', displayName: 'A', metadata }, { key: 'b' }])
    expect(first).toMatchObject({ status: 200, json: [{ key: 'a', displayName: 'A', metadata }, { key: 'b' }] })
    const [a] = first.json as unknown as [Json]
    const second = await post('/subjects', [{ key: 'a', stripeCustomerId: 'cus_1', displayName: null }])
    expect(second.json).toEqual([
      { ...a, stripeCustomerId: 'cus_1', metadata, displayName: undefined, updatedAt: expect.any(String) },
    ])
    expect((await post('/subjects', [{}])).status).toBe(400)
  })
})

describe('stored events', () => {
  const list = async (parameters = '') =>
    (await call('GET', `/events?from=${iso(T0 - DAY_MS)}${parameters}`)).json as unknown as {
      event: Json
      validationError?: string
    }[]

  test('are listed latest first, each with what its meter misses in it', async () => {
    await createMeter('listed')
    const at = (minutes: number) => iso(T0 + minutes * MINUTE_MS)
    const good = event('listed', { time: at(1) })
    await ingest([
      good,
      event('listed', { time: at(2), data: {} }),
      event('listed', { time: at(3), data: null }),
      event('listed', { time: at(4), data: { duration_ms: null } }),
      event('unmetered', { time: at(5), data: {} }),
    ])
    const missing = 'invalid event: missing value property: "$.duration_ms"'
    const events = await list()
    expect(events.map(({ validationError }) => validationError)).toEqual([
      undefined,
      'invalid event: value cannot be null',
      missing,
      missing,
      undefined,
    ])
    expect(events.at(-1)?.event).toEqual({
      ...good,
      time: new Date(T0 + MINUTE_MS).toISOString(),
      datacontenttype: 'application/json',
    })
  })

  test('are found by a part of id or subject, by time, and at most as many as asked', async () => {
    const subjects = ['alpha-1', "it's-2", 'alpha-3']
    await ingest(
      subjects.map((subject, n) => event('found', { subject, time: iso(T0 + n * MINUTE_MS), id: `id-${n}` })),
    )
    const found = async (parameters: string) => (await list(parameters)).map((one) => one.event.subject)
    expect(await found('')).toEqual([...subjects].reverse())
    expect(await found('&subject=alpha')).toEqual(['alpha-3', 'alpha-1'])
    expect(await found(`&subject=${encodeURIComponent("it's")}`)).toEqual(["it's-2"])
    expect(await found('&id=id-0')).toEqual(['alpha-1'])
    expect(await found(`&to=${iso(T0)}`)).toEqual(['alpha-1'])
    expect(await found('&limit=1')).toEqual(['alpha-3'])
    expect(await found(`&ingestedAtTo=${iso(T0)}`)).toEqual([])
    expect((await call('GET', '/events?limit=101')).status).toBe(400)
  })
})

describe('who may', () => {
  test('nobody without a key, and each key what our own doors would let it (EPIC-5)', async () => {
    await createMeter('mine')
    await ingest([event('mine')])
    await newTenant()
    expect((await call('GET', '/meters')).json).toEqual([])
    expect((await call('GET', '/meters/mine/query')).status).toBe(404)
    expect((await call('GET', `/events?from=${iso(T0 - DAY_MS)}`)).json).toEqual([])
    await newTenant(['billing:usage:create'])
    expect((await post('/events', event('mine'))).status).toBe(204)
    for (const [method, path] of [
      ['GET', '/meters'],
      ['GET', '/meters/mine/query'],
      ['GET', '/events'],
      ['DELETE', '/meters/mine'],
    ] as const)
      expect((await call(method, path)).status).toBe(403)
    expect((await post('/subjects', [])).status).toBe(403)
    key = 'nobody'
    expect((await post('/events', event('mine'))).status).toBe(401)
  })
})
