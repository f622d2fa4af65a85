import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { readUsage } from '../../../aggregator/usage/usage.clickhouse.ts'
import { statementsOf } from '../../../ops/migrate/migrate.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import { schemaFile } from '../../../schemas/files.ts'
import { type Window, windowStarts } from '../../../schemas/time/period.ts'
import { effective } from '../../integrity/aggregations-model.ts'
import { createAggregationsWorld, METERS, START_MS } from '../../integrity/aggregations-world.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, usageEvent } from '../../support/log-events.ts'
import { drawSeed, randomOf } from '../../support/random.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 120_000 })

const HOUR_MS = 3_600_000
const MINUTE_MS = 60_000
const END_MS = START_MS + 60 * HOUR_MS
const random = randomOf(drawSeed('analyst views'))

type World = Awaited<ReturnType<typeof createAggregationsWorld>>
type Span = { period: Window; zone: string; fromMs: number; toMs: number; asOfMs: number }

let store: ClickHouseStore
let world: World

beforeAll(async () => {
  store = await openUsageStore()
  // Copies, late ones, voids and replacements; shards clean, dirty and half rebuilt. Another tenant with the same ids.
  world = await createAggregationsWorld(store, 1, random)
  for (let batch = 0; batch < 9; batch++) {
    await world.arrive()
    if (batch % 3 === 1) await world.rebuildSome()
  }
  // Whatever the seed: usage in the six hours that are asked by minute, and on the day that has 23 hours.
  const always = [FROM_MS + 5 * MINUTE_MS, START_MS + 5 * HOUR_MS].map((timeMs, place) =>
    usageEvent(`always-${place}`, { timeMs, type: 'call', subject: 's1', data: { tokens: 3, region: 'eu' } }),
  )
  await insertRecords(store, 'log-always', [logRow(always, { knownAtMs: START_MS + 6 * HOUR_MS })])
  const other = await createAggregationsWorld(store, 2, random)
  await other.arrive()
})
afterAll(() => store.close())

const VIEW = `usage_by_period(tenant = 1, period = {period:String}, zone = {zone:String}, from_ms = {from_ms:Int64},
  to_ms = {to_ms:Int64}, as_of_ms = {as_of_ms:Int64})`
const paramsOf = ({ period, zone, fromMs, toMs, asOfMs }: Span) => {
  return { period, zone, from_ms: fromMs, to_ms: toMs, as_of_ms: asOfMs }
}
type Row = {
  meter: string
  subject: string
  group_values: string[]
  start_ms: string
  quantity: string
  events: string
}
const lineOf = (row: Row) =>
  [row.meter, row.start_ms, row.subject, ...row.group_values, row.quantity, row.events].join()
const COLUMNS = 'meter, subject, group_values, toString(quantity) AS quantity, toString(events) AS events'

async function seen(from: string, start: string, params: Record<string, string | number>): Promise<string[]> {
  const rows = await store.query<Row>(
    `SELECT ${COLUMNS}, toString(toInt64(toUnixTimestamp(${start})) * 1000) AS start_ms FROM ${from}`,
    params,
  )
  return rows.map(lineOf).sort()
}

/** What the usage API reads of all meters, in the same form. */
async function right({ period, zone, fromMs, toMs, asOfMs }: Span): Promise<string[]> {
  const lines: string[] = []
  for (const { slug, versions } of METERS) {
    const { aggregation, window, percentile } = versions[0]!.input
    const startsMs = windowStarts(fromMs, toMs, period, zone)
    const aggregated = { aggregation, window, percentile }
    const query = { tenant: 1, meter: slug, aggregated, subjects: [], fromMs, toMs, startsMs, asOfMs }
    const rows = await readUsage(store, { ...query, groups: [1], bySubject: true })
    for (const { startMs, subject, groupValues, quantity, events } of rows)
      lines.push([slug, startMs, subject, ...groupValues, quantity, events].join())
  }
  return lines.sort()
}

const RANDOM_END_MS = END_MS + random.below(4 * HOUR_MS)
const FROM_MS = START_MS + random.below(20 * 60) * MINUTE_MS
const HOURS = { fromMs: FROM_MS, toMs: FROM_MS + 36 * HOUR_MS + 7 * MINUTE_MS }
const MINUTES: Span = {
  ...{ period: 'minute', zone: 'UTC', fromMs: FROM_MS, toMs: FROM_MS + 6 * HOUR_MS },
  asOfMs: KNOWN_UNTIL_NOW_MS,
}
const BERLIN: Span = {
  ...{ period: 'day', zone: 'Europe/Berlin', fromMs: START_MS, toMs: END_MS },
  asOfMs: KNOWN_UNTIL_NOW_MS,
}

/** Issue 5, "Analysts"; CARD-5. The summer time of Berlin begins within the events, so a day of it has 23 hours. */
test.each<Span>([
  MINUTES,
  { period: 'hour', zone: 'Asia/Kathmandu', ...HOURS, asOfMs: RANDOM_END_MS },
  BERLIN,
  { period: 'week', zone: 'America/New_York', ...HOURS, asOfMs: KNOWN_UNTIL_NOW_MS },
  { period: 'month', zone: 'America/New_York', ...HOURS, asOfMs: Math.floor(RANDOM_END_MS / HOUR_MS) * HOUR_MS },
])('usage_by_period gives the usage of the API per $period in $zone, of every aggregation', async (span) => {
  expect(await seen(VIEW, 'period_start', paramsOf(span))).toEqual(await right(span))
})

test('usage_minute and usage_daily are usage_by_period as of now, by minute and day of UTC', async () => {
  const params = { from_ms: MINUTES.fromMs, to_ms: MINUTES.toMs }
  const parameters = 'tenant = 1, from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64}'
  const daily = await seen(`usage_daily(${parameters})`, "toDateTime(day, 'UTC')", params)
  expect(daily).toEqual(await seen(VIEW, 'period_start', paramsOf({ ...MINUTES, period: 'day' })))
  expect(daily.length).toBeGreaterThan(0)
  expect(await seen(`usage_minute(${parameters})`, 'bucket', params)).toEqual(
    await seen(VIEW, 'period_start', paramsOf(MINUTES)),
  )
})

test('periods end where the next begins, also where clocks change', async () => {
  const rows = await store.query<{ hours: number }>(
    `SELECT DISTINCT toInt32(period_end - period_start) / 3600 AS hours FROM ${VIEW} ORDER BY hours`,
    paramsOf(BERLIN),
  )
  expect(rows.map(({ hours }) => hours)).toEqual([23, 24])
})

test('every meter is among what is compared', async () => {
  const lines = await seen(VIEW, 'period_start', paramsOf(BERLIN))
  expect(new Set(lines.map((line) => line.split(',')[0]))).toEqual(new Set(METERS.map(({ slug }) => slug)))
})

/** Invariant 9: a comparison finds views that are wrong. */
test.each([
  ['counts a value twice', 'uniqExactIf(item,', 'countIf(', ['keys,2', 'level,12']],
  ['takes a change for the level', 'arrayCumSum(arrayMap(', '(arrayMap(', ['keys,1', 'level,4']],
  [
    ...['forgets the level from before', "(aggregation = 'time_weighted_sum' OR bucket >=", '(bucket >='],
    ['keys,1', 'level,8'],
  ],
] as [string, string, string, string[]][])('a view that %s is found out', async (_name, what, instead, expected) => {
  const tenant = 3
  const call = { event_type: 'call', value: 'v' } as const
  await copyMeter(store, tenant, 'keys', { ...call, aggregation: 'unique_count' }, { revision: 1 })
  await copyMeter(store, tenant, 'level', { ...call, aggregation: 'time_weighted_sum' }, { revision: 2 })
  const event = (id: string, timeMs: number) => usageEvent(id, { tenant, type: 'call', timeMs, data: { v: 4 } })
  const events = [event('before', START_MS - HOUR_MS), event('a', START_MS), event('b', START_MS)]
  await insertRecords(store, 'log-3', [logRow(events)])
  const ask = async () => {
    const rows = await store.query<{ line: string }>(
      `SELECT meter || ',' || toString(quantity) AS line
       FROM usage_by_period(tenant = 3, period = 'hour', zone = 'UTC', from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64},
         as_of_ms = ${KNOWN_UNTIL_NOW_MS}) ORDER BY line`,
      { from_ms: START_MS, to_ms: START_MS + HOUR_MS },
    )
    return rows.map(({ line }) => line)
  }
  const sound = statementsOf(schemaFile('clickhouse/0011-level-changes.sql')).find((one) =>
    one.includes('VIEW usage_by_period'),
  )!
  expect(sound).toContain(what)
  await store.command(sound.replace(what, instead))
  const wrong = await ask()
  await store.command(sound)
  // Four from before, and twice four at one instant.
  expect(await ask()).toEqual(['keys,1', 'level,12'])
  expect(wrong).toEqual(expected)
})

test('events_deduplicated holds every identity that counts once, with the payload that counts', async () => {
  const rows = await store.query<{ line: string }>(
    `SELECT id || ' ' || type || ' ' || subject || ' ' || toString(toUnixTimestamp64Milli(time)) || ' ' || data AS line
     FROM events_deduplicated(tenant = 1) WHERE NOT startsWith(id, 'always-') ORDER BY line`,
  )
  const keys = [...new Set(world.copies.map(({ key }) => key))]
  const expected = keys.flatMap((key) =>
    effective(
      world.copies.filter((copy) => copy.key === key),
      KNOWN_UNTIL_NOW_MS,
    ).map(({ payload }) => {
      return `${key} ${payload.type} ${payload.subject} ${payload.timeMs} ${JSON.stringify(payload.data)}`
    }),
  )
  expect(rows.map(({ line }) => line)).toEqual(expected.sort())
  expect(expected.length).toBeGreaterThan(0)
})
