import { afterAll, beforeAll, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { dirtyShards, startRun, writeHeads, writeRollup } from '../../../aggregator/rebuild/rebuild.clickhouse.ts'
import { runNumber } from '../../../aggregator/rebuild/rebuild.ts'
import { withUsage } from '../../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import type { Visible } from '../../../schemas/http/scope.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, usageEvent } from '../../support/log-events.ts'

const HOUR_MS = 3_600_000
const KNOWN_MS = Date.UTC(2026, 10, 20, 12, 30)
const METER = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' } as const

let store: ClickHouseStore
let tenant = 0
let runs = 0
beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())

async function openTenant(): Promise<void> {
  tenant += 1
  await copyMeter(store, tenant, 'tokens', METER, { revision: 1 })
  const events = [
    usageEvent('voided', { tenant, data: { tokens: 7 } }),
    usageEvent('kept', { tenant, data: { tokens: 3 } }),
  ]
  await insertRecords(store, `log-${tenant}`, [logRow(events, { knownAtMs: KNOWN_MS, offset: 0 })])
  await rebuild()
}

async function rebuild(): Promise<void> {
  const dirty = await dirtyShards(store, tenant, 100)
  const { startedAtMs, revision } = await startRun(store, tenant)
  const run = runNumber(startedAtMs, runs++)
  const shards = dirty.map(({ shard }) => shard)
  await writeRollup(store, tenant, shards, run)
  await writeHeads(store, tenant, dirty, run, revision)
}

async function voidAnHourLater(): Promise<void> {
  const target = usageEvent('voided', { tenant, type: 'tallyline.void', subject: '' })
  const row = logRow([{ ...target, data: '{"operation":"o"}' }], { knownAtMs: KNOWN_MS + HOUR_MS, offset: 1 })
  await insertRecords(store, `log-${tenant}`, [row])
}

type Answer = { quantity: string; events: string }
async function usageAsOf(
  reads: ClickHouseStore,
  asOfMs: number,
  subjects: Visible = 'everything',
): Promise<Answer | undefined> {
  const rows = await withUsage(reads, { tenant, meters: ['tokens'], asOfMs }, (usageOf) => {
    const { sql, params } = usageOf({ subjects })
    return reads.query<Answer>(
      `SELECT toString(sum(quantity)) AS quantity, toString(sum(events)) AS events FROM ${sql}`,
      params,
    )
  })
  return rows[0]
}

/** The store, with something that happens between the question which shards are live and the reading. */
function meanwhile(happens: () => Promise<void>): { reads: ClickHouseStore; readings: () => number } {
  let readings = 0
  const query: ClickHouseStore['query'] = async (sql, params) => {
    if (sql.includes('(shard, run) IN') && readings++ === 0) await happens()
    return store.query(sql, params)
  }
  return { reads: { ...store, query }, readings: () => readings }
}

/** Found by a review: the invoice of W would lack what was voided after W, and no digest would show it. */
test('a void that a rebuild takes in while usage as of before it is read does not count there', async () => {
  await openTenant()
  const { reads, readings } = meanwhile(async () => {
    await voidAnHourLater()
    await rebuild()
  })
  const asOfMs = KNOWN_MS + HOUR_MS / 2
  expect(await usageAsOf(reads, asOfMs)).toEqual({ quantity: '10', events: '2' })
  expect(readings()).toBe(2)
  expect(await usageAsOf(store, KNOWN_UNTIL_NOW_MS)).toEqual({ quantity: '3', events: '1' })
})

test('what is rebuilt while usage as of now is read counts once, in one reading', async () => {
  await openTenant()
  const { reads, readings } = meanwhile(async () => {
    await voidAnHourLater()
    await rebuild()
  })
  expect(await usageAsOf(reads, KNOWN_UNTIL_NOW_MS)).toEqual({ quantity: '3', events: '1' })
  expect(readings()).toBe(1)
})

/** Only identities with a copy of the subject are looked at; of each of them, every copy is (decision 0021). */
test('the first copy says whose usage it is, whichever of its copies’ subjects is asked for, rebuilt or not', async () => {
  await openTenant()
  const copy = (subject: string, data: object) => usageEvent('moved', { tenant, subject, data })
  const second = logRow([copy('second', { tokens: 5 })], { knownAtMs: KNOWN_MS + HOUR_MS, offset: 2 })
  const first = logRow([copy('first', { tokens: 4 })], { knownAtMs: KNOWN_MS, offset: 1 })
  const answers = async () => [
    await usageAsOf(store, KNOWN_UNTIL_NOW_MS, ['first']),
    await usageAsOf(store, KNOWN_UNTIL_NOW_MS, ['second']),
    await usageAsOf(store, KNOWN_UNTIL_NOW_MS, ['first', 'second', 'nobody']),
  ]
  const [four, five, nothing] = [
    { quantity: '4', events: '1' },
    { quantity: '5', events: '1' },
    { quantity: '0', events: '0' },
  ]
  // What was known later is stored first, alone.
  await insertRecords(store, `log-${tenant}`, [second])
  expect(await answers()).toEqual([nothing, five, five])
  await insertRecords(store, `log-${tenant}`, [first])
  expect(await answers()).toEqual([four, nothing, four])
  // The same record stored again is another row until parts merge.
  await insertRecords(store, `log-${tenant}`, [first, second])
  expect(await answers()).toEqual([four, nothing, four])
  await rebuild()
  expect(await answers()).toEqual([four, nothing, four])
})
