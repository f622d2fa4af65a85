import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { queryUsage } from '../../../aggregator/usage/query-usage.ts'
import type { Scope } from '../../../schemas/http/scope.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'
import { type Metering, openMetering, type Tenant } from '../../support/metering.ts'

const HOUR_MS = 3_600_000
const RANGE = 'from=2026-11-16T00:00:00Z&to=2026-11-30T00:00:00Z'
let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`options-${made++}`)
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
  await tenant.call('PUT', '/meters/largest', { event_type: 'llm.request', aggregation: 'max', value: 'tokens' })
  const events = [
    usageEvent('1', { tenant: tenant.id, subject: 'a,"b"', data: { tokens: 5 } }),
    usageEvent('2', { tenant: tenant.id, subject: 'c', timeMs: NOVEMBER_20 + 90_000, data: { tokens: 7 } }),
    usageEvent('3', { tenant: tenant.id, subject: 'c', timeMs: NOVEMBER_20 + 100 * HOUR_MS, data: { tokens: 1 } }),
  ]
  for (const [place, event] of events.entries()) {
    const row = logRow([event], { knownAtMs: NOVEMBER_20 + place * HOUR_MS, offset: place })
    await insertRecords(metering.store, `log-${tenant.id}`, [row])
  }
})
const ask = async (query: string) => (await tenant.call('GET', `/usage?${RANGE}&${query}`)).body

test('several meters are answered one by one; of a maximum the total is that of all windows', async () => {
  const both = { meters: [await ask('meter=tokens&window=day'), await ask('meter=largest&window=day')] }
  expect(await ask('meter=tokens,largest&window=day')).toEqual(both)
  expect(await ask('meter=tokens&meter=largest&window=day')).toEqual(both)
  expect(both.meters[1]).toMatchObject({
    total: { quantity: '7', events: 3 },
    windows: [{ quantity: '7' }, { quantity: '1' }],
  })
})

test('windows are minutes and weeks, too', async () => {
  const startsOf = async (window: string) =>
    ((await ask(`meter=tokens&window=${window}`)).windows as { start: string }[]).map(({ start }) => start.slice(5, 16))
  expect(await startsOf('week')).toEqual(['11-16T00:00', '11-23T00:00'])
  expect(
    (await tenant.call('GET', '/usage?meter=tokens&from=2026-11-20T12:00:00Z&to=2026-11-20T13:00:00Z&window=minute'))
      .body,
  ).toMatchObject({ windows: [{ start: '2026-11-20T12:00:00.000Z' }, { start: '2026-11-20T12:01:00.000Z' }] })
})

test('as_of: usage as it was known before a moment', async () => {
  const totalAsOf = async (asOf: string) => (await ask(`meter=tokens&as_of=${asOf}`)).total
  expect(await totalAsOf('2026-11-20T13:00:00Z')).toEqual({ quantity: '5', events: 1 })
  expect(await totalAsOf('2026-11-20T13:00:00.001Z')).toEqual({ quantity: '12', events: 2 })
})

test('pages hold every window once, each with the total of all', async () => {
  const whole = await ask('meter=tokens&window=hour&group_by=subject')
  const windows: unknown[] = []
  let cursor = ''
  do {
    const page = await ask(`meter=tokens&window=hour&group_by=subject&limit=1${cursor && `&cursor=${cursor}`}`)
    expect(page.total).toEqual(whole.total)
    windows.push(...(page.windows as unknown[]))
    cursor = (page.next_cursor as string | undefined) ?? ''
  } while (cursor)
  expect(windows).toEqual(whole.windows)
  expect(await ask('meter=tokens&limit=1&cursor=odd')).toMatchObject({ code: 'invalid_request' })
})

test('CSV by format or Accept, with what needs quotes in quotes', async () => {
  const url = `/api/v1/usage?${RANGE}&meter=tokens&group_by=subject`
  const headers = { authorization: `Bearer options-${made - 1}` }
  const byFormat = await metering.app.inject({ url: `${url}&format=csv`, headers })
  const byAccept = await metering.app.inject({ url, headers: { ...headers, accept: 'text/csv' } })
  const span = '2026-11-16T00:00:00.000Z,2026-11-30T00:00:00.000Z'
  expect(byFormat.headers['content-type']).toBe('text/csv; charset=utf-8')
  expect(byFormat.body).toBe(
    `meter,start,end,subject,quantity,events\r\ntokens,${span},"a,""b""",5,1\r\ntokens,${span},c,8,2\r\n`,
  )
  expect(byAccept.body).toBe(byFormat.body)
})

test('several subjects; who may see some of them only finds those, whatever is asked for (HC-8)', async () => {
  expect((await ask('meter=tokens&subject=c&subject=x')).total).toEqual({ quantity: '8', events: 2 })
  const deps = { pool: metering.database.pool, store: metering.store }
  const span = { meter: 'tokens', fromMs: NOVEMBER_20, toMs: NOVEMBER_20 + 200 * HOUR_MS, groupBy: [], timezone: 'UTC' }
  const seen = async (scope: Scope, asked: { subjects?: string[] } = {}) =>
    (await queryUsage(deps, { tenantId: tenant.id, scope }, { ...span, ...asked })).total.quantity
  expect(await seen('everything')).toBe('13')
  expect(await seen({ subjects: ['c'] })).toBe('8')
  expect(await seen({ subjects: ['c'] }, { subjects: ['a,"b"'] })).toBe('0')
  expect(await seen({ subjects: [] })).toBe('0')
  expect(await seen({ customer: '01890a5d-ac96-774b-bcce-b302099a8057' })).toBe('0')
})
