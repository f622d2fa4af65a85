import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MeterInput } from '../../aggregator/meters/meter.ts'
import { insertRecords } from '../../aggregator/pump/insert.clickhouse.ts'
import { dirtyShards, startRun, writeHeads, writeRollup } from '../../aggregator/rebuild/rebuild.clickhouse.ts'
import { runNumber } from '../../aggregator/rebuild/rebuild.ts'
import { readUsage, type UsageQuery } from '../../aggregator/usage/usage.clickhouse.ts'
import { quoteAggregate } from '../../invoicer/billing/quote/quote-aggregate.ts'
import { createClickHouseUsageReader } from '../../invoicer/billing/usage.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import { encodeOperation } from '../../schemas/event/operation.ts'
import { formatQuantity, parseSum } from '../../schemas/quantity.ts'
import { copyMeter } from '../support/copy-meter.ts'
import { openUsageStore } from '../support/embedded-stores.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../support/log-events.ts'
import { changeView, soundView } from './planted-views.ts'

const HOUR_MS = 3_600_000
const METER: MeterInput = {
  ...{ event_type: 'stored', aggregation: 'time_weighted_sum', value: 'bytes', group_by: ['region'] },
}

let store: ClickHouseStore
let [tenant, runs] = [0, 0]
beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())

type Change = { timeMs: number; value: string; region?: string; fate?: 'voided' | 'replaced' }
type Span = { startMs: number; endMs: number }

/** Most in one shard, where a rebuild brings together what came at one instant. */
const idOf = (n: number) => (n % 4 === 3 ? `change-${n}` : `01936f2e-8f3a-7c1b-9a58-${String(n).padStart(12, '0')}`)

/** A tenant of its own with a meter of a level, its changes, and what was said of them an hour later. */
async function openLevel(changes: readonly Change[]): Promise<void> {
  tenant++
  await copyMeter(store, tenant, 'level', METER, { revision: 1 })
  const eventOf = ({ timeMs, value, region = 'eu' }: Change, n: number) =>
    usageEvent(idOf(n), { tenant, type: 'stored', subject: 'disk', timeMs, data: { bytes: value, region } })
  const operations = changes.flatMap((change, n) => {
    if (!change.fate) return []
    const replacement = {
      type: 'stored',
      subject: 'disk',
      timeMs: change.timeMs,
      dataJson: '{"bytes":-1,"region":"eu"}',
    }
    const said = { operation: `o-${n}`, reason: 'test', by: 'test' }
    const data = encodeOperation(change.fate === 'replaced' ? { ...said, replacement } : said)
    const type = change.fate === 'replaced' ? 'tallyline.replace' : 'tallyline.void'
    return [{ ...eventOf(change, n), type, subject: '', timeMs: NOVEMBER_20, data }]
  })
  const [log, later] = [`log-${tenant}`, NOVEMBER_20 + HOUR_MS]
  await insertRecords(store, log, [logRow(changes.map(eventOf), { offset: 0 })])
  if (operations.length > 0) await insertRecords(store, log, [logRow(operations, { knownAtMs: later, offset: 1 })])
}

async function rebuild(): Promise<void> {
  const dirty = await dirtyShards(store, tenant, 1_000)
  const { startedAtMs, revision } = await startRun(store, tenant)
  const run = runNumber(startedAtMs, runs++)
  const shards = dirty.map(({ shard }) => shard)
  await writeRollup(store, tenant, shards, run)
  await writeHeads(store, tenant, dirty, run, revision)
}

/** By the usage API, and by the invoicer. */
async function metered({ startMs, endMs }: Span): Promise<string[]> {
  const [row] = await readUsage(store, queryOf({ startMs, endMs }))
  const request = { key: 'k', meter: 'level', subjects: ['disk'], startMs, endMs }
  const billed = await createClickHouseUsageReader(store).quantities(tenant, new Date(KNOWN_UNTIL_NOW_MS), [request])
  return [row?.quantity ?? '0', String(billed.get('k')?.quantity)].map((text) => formatQuantity(parseSum(text)))
}

function queryOf({ startMs, endMs }: Span): UsageQuery {
  const span = { fromMs: startMs, toMs: endMs, startsMs: [startMs] }
  const aggregated = { aggregation: METER.aggregation }
  return { tenant, meter: 'level', aggregated, subjects: [], ...span, groups: [], bySubject: false }
}

const iso = (ms: number) => new Date(ms).toISOString()
function quoted(changes: readonly Change[], { startMs, endMs }: Span): string {
  const events = changes.map(({ timeMs, value }) => ({ time: iso(timeMs), value }))
  const period = { start: iso(startMs), end: iso(endMs) }
  const asked = { kind: 'aggregate', aggregation: METER.aggregation, events, period }
  return (quoteAggregate(asked) as { quantity: string }).quantity
}

type Worked = {
  id: string
  source: string
  case: { initial?: string; events: { time: string; value: string }[]; period: { start: string; end: string } }
  expect: { quantity: string }
}
const FILE = join(import.meta.dirname, '../invoicer/billing/quote/cases/periods.jsonl')
const worked = readFileSync(FILE, 'utf8')
  .split('\n')
  .filter((line) => line.includes('"time_weighted_sum"'))
  .map((line) => JSON.parse(line) as Worked)

test('there are worked cases of a level', () => {
  expect(worked.filter(({ source }) => source.startsWith('Lago')).length).toBeGreaterThanOrEqual(3)
})

/** Issue 5: "a value is a change of the level …, the level from before carried in". */
test.each(worked)(
  '$id ($source): a meter comes to what is quoted',
  async ({ case: given, expect: expected }) => {
    const span = { startMs: Date.parse(given.period.start), endMs: Date.parse(given.period.end) }
    const changes = [
      { timeMs: span.startMs - 40 * 24 * HOUR_MS, value: given.initial ?? '0' },
      ...given.events.map(({ time, value }) => ({ timeMs: Date.parse(time), value })),
    ]
    await openLevel(changes)
    const before = await metered(span)
    await rebuild()
    expect([quoted(changes, span), ...before, ...(await metered(span))]).toEqual(Array(5).fill(expected.quantity))
  },
  300_000,
)

const DAY: Span = { startMs: NOVEMBER_20 - 24 * HOUR_MS, endMs: NOVEMBER_20 }
const NOON = DAY.startMs + 12 * HOUR_MS
const at = (timeMs: number, ...values: string[]): Change[] => values.map((value) => ({ timeMs, value }))

test('changes of one instant add up, whichever came first, also in a rollup', async () => {
  await openLevel([...at(DAY.startMs - HOUR_MS, '5', '5'), ...at(NOON, '30', '-7', '30', '-3')])
  expect(await metered(DAY)).toEqual(['35', '35'])
  await rebuild()
  expect(await metered(DAY)).toEqual(['35', '35'])
}, 300_000)

test('a level may lie below 0: that is told, not hidden', async () => {
  await openLevel([...at(DAY.startMs, '1'), ...at(NOON, '-4')])
  await rebuild()
  expect(await metered(DAY)).toEqual(['-1', '-1'])
}, 300_000)

test('a change that is voided never was, and one that is replaced was another', async () => {
  const [first, second, third] = at(NOON, '8', '100', '6')
  await openLevel([first!, { ...second!, fate: 'voided' }, { ...third!, fate: 'replaced' }])
  expect(await metered(DAY)).toEqual(['3.5', '3.5'])
  await rebuild()
  expect(await metered(DAY)).toEqual(['3.5', '3.5'])
}, 300_000)

/** Invariant 9. Until migration 0011 the last of several values of one instant stood for all. */
test('a rollup that keeps one change of an instant is found out', async () => {
  await changeView(store, [['kind IN (0, 4, 7), toUInt256(0),', 'kind IN (0, 7), toUInt256(0),']])
  await openLevel(at(NOON, '30', '30'))
  await rebuild()
  const wrong = await metered(DAY)
  await soundView(store)
  expect(wrong).toEqual(['15', '15'])
}, 300_000)

test('whatever changes, before and within, by group or in all, a meter comes to what is quoted', async () => {
  const change = fc.record<Change>(
    {
      timeMs: fc.oneof(
        fc.integer({ min: DAY.startMs - 48 * HOUR_MS, max: DAY.endMs + 24 * HOUR_MS }),
        fc.integer({ min: -4, max: 28 }).map((hour) => DAY.startMs + hour * HOUR_MS),
      ),
      value: fc.integer({ min: -(10 ** 9), max: 10 ** 9 }).map((n) => formatQuantity(parseSum(String(n)).div('1000'))),
      region: fc.constantFrom('eu', 'us'),
      fate: fc.constantFrom(undefined, undefined, 'voided', 'replaced'),
    },
    { requiredKeys: ['timeMs', 'value', 'region'] },
  )
  const changes = fc.array(change, { minLength: 1, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(changes, fc.boolean(), async (drawn, rebuilt) => {
      await openLevel(drawn)
      if (rebuilt) await rebuild()
      const standing = drawn.flatMap((one): Change[] => {
        if (one.fate === 'voided') return []
        return [one.fate === 'replaced' ? { ...one, value: '-1', region: 'eu' } : one]
      })
      expect(await metered(DAY)).toEqual([quoted(standing, DAY), quoted(standing, DAY)])
      const rows = await readUsage(store, { ...queryOf(DAY), groups: [1] })
      for (const region of ['eu', 'us']) {
        const own = standing.filter((one) => one.region === region)
        const found = rows.find(({ groupValues }) => groupValues[0] === region)?.quantity ?? '0'
        expect(formatQuantity(parseSum(found))).toBe(quoted(own, DAY))
      }
    }),
    // Each step of shrinking is a tenant with queries: the first find has to do.
    { numRuns: 8, endOnFailure: true },
  )
}, 300_000)
