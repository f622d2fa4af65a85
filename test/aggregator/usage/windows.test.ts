import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { type Window, windowStarts } from '../../../schemas/time/period.ts'
import { logRow, usageEvent } from '../../support/log-events.ts'
import { type Metering, openMetering, type Tenant } from '../../support/metering.ts'

type UsageWindow = { start: string; end: string; quantity: string; events: number }

const QUARTER_MS = 15 * 60_000
const HOUR = 3_600_000
let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())

/** A tenant with one event worth 1 each quarter of an hour of [from, to). */
async function quarters(from: string, to: string): Promise<void> {
  tenant = await metering.tenant(`t-${made++}`)
  await tenant.call('PUT', '/meters/requests', { event_type: 'llm.request', aggregation: 'count' })
  const events = []
  for (let timeMs = Date.parse(from); timeMs < Date.parse(to); timeMs += QUARTER_MS)
    events.push(usageEvent(`e-${timeMs}`, { tenant: tenant.id, timeMs }))
  await insertRecords(metering.store, `log-${made}`, [logRow(events)])
}

async function usage(from: string, to: string, window: string, timezone: string): Promise<UsageWindow[]> {
  const query = new URLSearchParams({ meter: 'requests', from, to, window, timezone })
  const { status, body } = await tenant.call('GET', `/usage?${query}`)
  expect(body).toMatchObject({ meter: 'requests' })
  expect(status).toBe(200)
  return body.windows as UsageWindow[]
}

const hoursOf = (window: UsageWindow) => (Date.parse(window.end) - Date.parse(window.start)) / HOUR

describe('days', () => {
  test.each([
    ['Europe/Berlin', '2026-03-28T23:00:00Z', '2026-03-30T22:00:00Z', [23, 24]],
    ['Europe/Berlin', '2026-10-24T22:00:00Z', '2026-10-26T23:00:00Z', [25, 24]],
    ['America/New_York', '2026-03-08T05:00:00Z', '2026-03-10T04:00:00Z', [23, 24]],
    // Where clocks change at midnight: a day that begins at 1:00, and one whose first hour comes twice.
    ['America/Havana', '2026-03-08T05:00:00Z', '2026-03-10T04:00:00Z', [23, 24]],
    ['America/Havana', '2026-11-01T04:00:00Z', '2026-11-03T05:00:00Z', [25, 24]],
    // Where clocks change by half an hour, and where they stand at three quarters.
    ['Australia/Lord_Howe', '2026-04-04T13:00:00Z', '2026-04-06T13:30:00Z', [24.5, 24]],
    ['Asia/Kathmandu', '2026-01-01T18:15:00Z', '2026-01-03T18:15:00Z', [24, 24]],
    ['UTC', '2024-02-28T00:00:00Z', '2024-03-02T00:00:00Z', [24, 24, 24]],
  ])('%s, from %s to %s: days of %j hours, with the events of those hours', async (zone, from, to, hours) => {
    await quarters(from, to)
    const windows = await usage(from, to, 'day', zone)
    expect(windows.map(hoursOf)).toEqual(hours)
    expect(windows.map(({ events }) => events)).toEqual(hours.map((length) => length * 4))
    expect(windows.map(({ quantity }) => quantity)).toEqual(hours.map((length) => String(length * 4)))
    expect(windows[0]?.start).toBe(new Date(from).toISOString())
    expect(windows.at(-1)?.end).toBe(new Date(to).toISOString())
  })
})

describe('months and hours', () => {
  test('months follow the zone’s calendar', async () => {
    await quarters('2026-02-27T00:00:00Z', '2026-03-03T00:00:00Z')
    const windows = await usage('2026-01-01T00:00:00Z', '2026-12-01T00:00:00Z', 'month', 'Asia/Tokyo')
    expect(windows).toEqual([
      { start: '2026-01-31T15:00:00.000Z', end: '2026-02-28T15:00:00.000Z', quantity: '156', events: 156 },
      { start: '2026-02-28T15:00:00.000Z', end: '2026-03-31T15:00:00.000Z', quantity: '228', events: 228 },
    ])
  })

  test('an hour in which clocks change by half an hour is half an hour longer', async () => {
    await quarters('2026-04-04T12:00:00Z', '2026-04-04T18:00:00Z')
    const windows = await usage('2026-04-04T13:00:00Z', '2026-04-04T16:30:00Z', 'hour', 'Australia/Lord_Howe')
    expect(windows.map(hoursOf)).toEqual([1, 1.5, 1])
    expect(windows.map(({ events }) => events)).toEqual([4, 6, 4])
  })

  test('an hour that comes twice is two hours', async () => {
    await quarters('2026-10-25T00:00:00Z', '2026-10-25T03:00:00Z')
    const windows = await usage('2026-10-25T00:00:00Z', '2026-10-25T03:00:00Z', 'hour', 'Europe/Berlin')
    expect(windows.map(({ events }) => events)).toEqual([4, 4, 4])
  })
})

test('windows are cut to [from, to), and those without usage are left out', async () => {
  await quarters('2026-05-01T06:00:00Z', '2026-05-03T00:00:00Z')
  expect(await usage('2026-05-01T12:10:00Z', '2026-05-05T00:00:00Z', 'day', 'UTC')).toEqual([
    { start: '2026-05-01T12:10:00.000Z', end: '2026-05-02T00:00:00.000Z', quantity: '47', events: 47 },
    { start: '2026-05-02T00:00:00.000Z', end: '2026-05-03T00:00:00.000Z', quantity: '96', events: 96 },
  ])
})

test('a zone is found however it is spelled', async () => {
  await quarters('2026-05-01T00:00:00Z', '2026-05-02T00:00:00Z')
  const spelled = await usage('2026-05-01T00:00:00Z', '2026-05-02T00:00:00Z', 'day', 'europe/BERLIN')
  expect(spelled).toEqual(await usage('2026-05-01T00:00:00Z', '2026-05-02T00:00:00Z', 'day', 'Europe/Berlin'))
})

test('every window has the events that lie in it, in many zones and around their clock changes', async () => {
  const [from, to] = ['2026-03-20T00:00:00Z', '2026-04-08T00:00:00Z']
  await quarters(from, to)
  for (const window of ['hour', 'day', 'month'] satisfies Window[]) {
    for (const zone of ['Europe/London', 'America/Sao_Paulo', 'Africa/Casablanca', 'Asia/Tehran', 'Pacific/Apia']) {
      const starts = windowStarts(Date.parse(from), Date.parse(to), window, zone)
      const seen = await usage(from, to, window, zone)
      const clipped = starts.map((start) => new Date(Math.max(start, Date.parse(from))).toISOString())
      expect(seen.map(({ start }) => start)).toEqual(clipped)
      for (const one of seen) expect(one.events).toBe((Date.parse(one.end) - Date.parse(one.start)) / QUARTER_MS)
    }
  }
})
