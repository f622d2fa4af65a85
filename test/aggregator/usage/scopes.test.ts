import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Scope, seenSubjects } from '../../../schemas/http/scope.ts'
import { createCustomer, giveSubject } from '../../support/customers.ts'
import { cloudEvent, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

/**
 * HC-8: finance sees all usage, an organization's admin that organization's, a user the own; the filter is part of the
 * operation. Acme is an organization with two users, Globex another one, u-9 belongs to nobody.
 */
const RANGE = 'from=2026-11-16T00:00:00Z&to=2026-11-23T00:00:00Z'
const ALL = ['a-1', 'a-2', 'g-1', 'u-9']
const FOREIGN = /g-1|u-9|of-g-1|of-u-9|globex/
let metering: Metering
let tenant: Tenant
let acme: string
let globex: string
const keys = new Map<string, { scope: Scope; visible: string[] }>()

beforeAll(async () => {
  metering = await openMetering()
  tenant = await metering.tenant('all')
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  const meter = { event_type: 'llm.request', value: 'tokens', group_by: ['model'] }
  for (const aggregation of ['sum', 'max', 'average'])
    await tenant.call('PUT', `/meters/${aggregation}`, { ...meter, aggregation })
  await tenant.call('PUT', '/meters/models', { ...meter, aggregation: 'unique_count', value: 'model' })
  // Every subject has a model that gives it away, and one that all have; the foreign ones are the largest.
  const events = ALL.flatMap((subject, place) =>
    [16, 17, 20].flatMap((day) =>
      ['small', `of-${subject}`].map((model) =>
        cloudEvent(`${subject}-${day}-${model}`, { tokens: 10 ** place + day, model }, timeAndSubject(day, subject)),
      ),
    ),
  )
  expect((await tenant.send(JSON.stringify(events))).status).toBe(202)
  acme = await createCustomer(metering.database.pool, tenant.id, 'acme', ['a-1', 'a-2'])
  globex = await createCustomer(metering.database.pool, tenant.id, 'globex', ['g-1'])
  const empty = await createCustomer(metering.database.pool, tenant.id, 'empty', [])
  const scoped = (name: string, scope: Scope, visible: string[]) => {
    metering.scopedKey(tenant, name, scope)
    keys.set(name, { scope, visible })
  }
  scoped('organization', { customer: acme }, ['a-1', 'a-2'])
  scoped('user', { subjects: ['a-1'] }, ['a-1'])
  scoped('two', { subjects: ['a-2', 'nobody'] }, ['a-2'])
  scoped('empty', { customer: empty }, [])
  await metering.settled()
})
afterAll(() => metering.close())

const timeAndSubject = (day: number, subject: string) => ({ subject, time: `2026-11-${day}T10:00:00Z` })

async function ask(key: string, path: string, body?: object) {
  const answer = await metering.app.inject({
    method: body ? 'POST' : 'GET',
    url: path,
    headers: { authorization: `Bearer ${key}` },
    ...(body ? { payload: body } : {}),
  })
  return { status: answer.statusCode, next: answer.headers['x-next-cursor'], text: answer.body }
}
const usage = (key: string, query: string) => ask(key, `/api/v1/usage?${RANGE}&${query}`)
const subjectsQuery = (subjects: readonly string[]) => subjects.map((one) => `&subject=${one}`).join('')

type Windows = { windows: { subject: string }[]; total: { events: number }; next_cursor?: string }
const read = (text: string) => JSON.parse(text) as Windows

describe('usage for a key with a scope', () => {
  test('is the answer to everybody, filtered', async () => {
    for (const meter of ['sum', 'max']) {
      const query = `meter=${meter}&group_by=subject,model&window=day`
      const full = read((await usage('all', query)).text)
      expect(full.windows).toHaveLength(ALL.length * 3 * 2)
      for (const [key, { visible }] of keys) {
        const seen = read((await usage(key, query)).text)
        expect(seen.windows).toEqual(full.windows.filter(({ subject }) => visible.includes(subject)))
        expect(seen.total.events).toBe(visible.length * 6)
      }
    }
  })

  test('is that of a question for the visible subjects among those asked for, byte for byte, on every page', async () => {
    const question = fc.record({
      key: fc.constantFrom(...keys.keys()),
      meter: fc.constantFrom('sum', 'max', 'average', 'models', 'sum,max'),
      subjects: fc.option(fc.subarray([...ALL, 'nobody'], { minLength: 1 }), { nil: undefined }),
      groupBy: fc.subarray(['subject', 'model']),
      window: fc.constantFrom('', '&window=day', '&window=month'),
      format: fc.constantFrom('', '&format=csv'),
      asOf: fc.constantFrom('', '&as_of=2026-11-20T00:00:00Z', '&as_of=2026-12-20T00:00:00Z'),
      limit: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }),
    })
    await fc.assert(
      fc.asyncProperty(question, async ({ key, meter, subjects, groupBy, window, format, asOf, limit }) => {
        const paged = limit !== undefined && !meter.includes(',')
        const group = groupBy.length > 0 ? `&group_by=${groupBy.join(',')}` : ''
        const query = `meter=${meter}${group}${window}${format}${asOf}${paged ? `&limit=${limit}` : ''}`
        const seen = seenSubjects(subjects, keys.get(key)?.visible ?? [])
        const named = seen.length === 0 || seen === 'everything' ? ['nobody-at-all'] : seen
        let cursor = ''
        for (let page = 0; page < 2; page++) {
          const scoped = await usage(key, `${query}${subjectsQuery(subjects ?? [])}${cursor}`)
          expect(scoped.status).toBe(200)
          expect(scoped).toEqual(await usage('all', `${query}${subjectsQuery(named)}${cursor}`))
          expect(scoped.text).not.toMatch(FOREIGN)
          const next = scoped.next ?? (format ? undefined : read(scoped.text).next_cursor)
          if (next === undefined) return
          cursor = `&cursor=${next}`
        }
      }),
      { numRuns: 15 },
    )
  }, 300_000)

  test('behind a cursor that points at somebody else’s usage goes on with the own', async () => {
    const query = 'meter=sum&group_by=subject&window=day'
    const full = read((await usage('all', `${query}&limit=4`)).text)
    expect(full.windows.at(-1)?.subject).toBe('u-9')
    const own = read((await usage('user', query)).text)
    expect(read((await usage('user', `${query}&limit=4&cursor=${full.next_cursor}`)).text)).toEqual({
      ...own,
      windows: own.windows.slice(1),
    })
  })

  test('of a subject that may not be seen looks like that of one that does not exist', async () => {
    for (const key of keys.keys()) {
      for (const more of ['', '&group_by=subject', '&group_by=model&window=day', '&format=csv', '&limit=1']) {
        const [foreign, unknown] = [
          await usage(key, `meter=sum&subject=g-1${more}`),
          await usage(key, `meter=sum&subject=zzz${more}`),
        ]
        expect(foreign).toEqual(unknown)
      }
    }
  })

  test('of a customer that may not be seen looks like that of one that does not exist', async () => {
    const asked = [
      ...['globex', globex, 'empty'].map((customer) => ['organization', customer] as const),
      ...['acme', acme, 'globex', globex].map((customer) => ['user', customer] as const),
      ['empty', 'acme'] as const,
    ]
    for (const [key, customer] of asked) {
      for (const more of ['', '&group_by=subject&window=day', '&format=csv']) {
        const foreign = await usage(key, `meter=sum&customer=${customer}${more}`)
        const unknown = await usage(key, `meter=sum&customer=nobody${more}`)
        expect(foreign.status).toBe(404)
        expect(foreign).toEqual({ ...unknown, text: unknown.text.replaceAll('nobody', customer) })
      }
    }
  })

  test('of the own customer is answered, by key and by id, with what was billed', async () => {
    const whole = await usage('all', 'meter=sum&customer=acme')
    expect(read(whole.text)).toMatchObject({ total: { events: 12 }, billed: '0' })
    for (const customer of ['acme', acme])
      expect(await usage('organization', `meter=sum&customer=${customer}`)).toEqual(whole)
  })

  test('follows the customer’s subjects as they change', async () => {
    const growing = await createCustomer(metering.database.pool, tenant.id, 'growing', [])
    metering.scopedKey(tenant, 'growing', { customer: growing })
    const events = async () => read((await usage('growing', 'meter=sum')).text).total.events
    expect(await events()).toBe(0)
    await giveSubject(metering.database.pool, tenant.id, growing, 'u-9')
    expect(await events()).toBe(6)
  })

  test('nothing that stands in a query crosses over', async () => {
    const odd = fc.oneof(
      fc.constantFrom(
        ...ALL,
        'globex',
        globex,
        '*',
        "') OR 1=1 --",
        "g-1' OR '1'='1",
        'everything',
        '{visible:Array(String)}',
      ),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }).map((text) => text.replaceAll('\u0000', '0')),
    )
    const member = fc.constantFrom(
      'meter',
      'subject',
      'customer',
      'group_by',
      'timezone',
      'cursor',
      'as_of',
      'scope',
      'visible',
    )
    await fc.assert(
      fc.asyncProperty(member, odd, fc.constantFrom('organization', 'user'), async (name, value, key) => {
        const query = new URLSearchParams(`meter=sum&group_by=subject,model&${RANGE}`)
        query.set(name, value)
        const { status, text } = await ask(key, `/api/v1/usage?${query}`)
        expect(status).toBeLessThan(500)
        if (status === 200) expect(text).not.toMatch(FOREIGN)
      }),
      { numRuns: 40 },
    )
  }, 300_000)
})

describe('the doors of OpenMeter', () => {
  const url = '/openmeter/api/v1'
  type Row = { value: number; windowStart: string; windowEnd: string; subject: string | null }
  const rowsOf = async (key: string, path: string) => (JSON.parse((await ask(key, path)).text) as { data: Row[] }).data

  beforeAll(async () => {
    const one = {
      eventType: 'llm.request',
      aggregation: 'SUM',
      valueProperty: '$.tokens',
      groupBy: { model: '$.model' },
    }
    expect((await ask('all', `${url}/meters`, { slug: 'om', ...one })).status).toBe(201)
    const early = cloudEvent('early', { tokens: 5 }, timeAndSubject(14, 'g-1'))
    expect((await tenant.send(JSON.stringify(early))).status).toBe(202)
    const subjects = ['a-1', 'g-1'].map((key) => ({ key, displayName: `Name of ${key}` }))
    expect((await ask('all', `${url}/subjects`, subjects)).status).toBe(200)
    await metering.settled()
  })

  test('count own usage, and reach from the own first event to the own last one', async () => {
    const minutes = { windowStart: '2026-11-16T10:00:00Z', windowEnd: '2026-11-20T10:01:00Z', subject: null }
    expect(await rowsOf('all', `${url}/meters/om/query`)).toMatchObject([{ windowStart: '2026-11-14T10:00:00Z' }])
    const own = (1 + 16 + (1 + 17) + (1 + 20)) * 2
    expect(await rowsOf('user', `${url}/meters/om/query`)).toEqual([{ ...minutes, value: own, groupBy: {} }])
    const organization = own + (10 + 16 + (10 + 17) + (10 + 20)) * 2
    expect(await rowsOf('organization', `${url}/meters/om/query`)).toMatchObject([{ ...minutes, value: organization }])
    expect(await rowsOf('empty', `${url}/meters/om/query`)).toEqual([])
  })

  test('give nothing of others away, however they are asked', async () => {
    const bounded = 'windowSize=DAY&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z'
    for (const key of keys.keys()) {
      for (const query of ['groupBy=subject&groupBy=model', `${bounded}&groupBy=model`]) {
        for (const subject of ['', '&subject=g-1&subject=a-1']) {
          const { status, text } = await ask(key, `${url}/meters/om/query?${query}${subject}`)
          expect(status).toBe(200)
          expect(text).not.toMatch(FOREIGN)
        }
      }
      const foreign = await ask(key, `${url}/meters/om/query`, { subject: ['g-1'] })
      expect(foreign).toEqual(await ask(key, `${url}/meters/om/query`, { subject: ['zzz'] }))
      expect(JSON.parse(foreign.text)).toEqual({ data: [] })
    }
    const csv = await metering.app.inject({
      url: `${url}/meters/om/query?groupBy=subject`,
      headers: { authorization: 'Bearer organization', accept: 'text/csv' },
    })
    expect(csv.body).toContain('Name of a-1')
    expect(csv.body).not.toMatch(FOREIGN)
  })

  test('list own events only, whatever part of an id or subject is asked for', async () => {
    const listed = async (key: string, query: string) => {
      const { status, text } = await ask(key, `${url}/events?from=2026-11-01T00:00:00Z&${query}`)
      expect(status).toBe(200)
      return (JSON.parse(text) as { event: { subject: string } }[]).map(({ event }) => event.subject)
    }
    expect(new Set(await listed('all', ''))).toEqual(new Set(ALL))
    for (const [key, { visible }] of keys) {
      expect([key, new Set(await listed(key, ''))]).toEqual([key, new Set(visible)])
      for (const query of ['subject=g', 'subject=g-1', 'subject=u-9', 'id=g-1', 'id=early'])
        expect([key, query, await listed(key, query)]).toEqual([key, query, []])
    }
  })
})

test('a meter tells a key with a scope its definition, and not how much the tenant sends', async () => {
  const meter = { event_type: 'llm.request', aggregation: 'count' }
  await tenant.call('PUT', '/meters/newer', meter)
  expect(await tenant.call('GET', '/meters/newer')).toMatchObject({ body: { progress: { built: 0 } } })
  const { status, text } = await ask('user', '/api/v1/meters/newer')
  expect([status, JSON.parse(text)]).toEqual([
    200,
    { slug: 'newer', ...meter, group_by: [], revision: expect.any(Number) },
  ])
})
