import { afterAll, beforeAll, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { readTotal, readUsage, type UsageQuery } from '../../../aggregator/usage/usage.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { formatQuantity, parseQuantity, parseSum } from '../../../schemas/quantity.ts'
import { windowStarts } from '../../../schemas/time/period.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, usageEvent } from '../../support/log-events.ts'

const CHANGES = 20_000
const HOUR_MS = 3_600_000
const FROM_MS = Date.UTC(2026, 10, 1)
const TO_MS = Date.UTC(2026, 11, 1)
/** As changes come: at no whole minute, and never at a window's start but the first. */
const BETWEEN_MS = (TO_MS - FROM_MS) / CHANGES

let store: ClickHouseStore

beforeAll(async () => {
  store = await openUsageStore()
  const level = { event_type: 'stored', aggregation: 'time_weighted_sum', value: 'bytes' } as const
  await copyMeter(store, 1, 'level', level, { revision: 1 })
  const events = Array.from({ length: CHANGES }, (_, n) =>
    usageEvent(`change-${n}`, {
      type: 'stored',
      subject: `disk-${n % 2}`,
      timeMs: FROM_MS + n * BETWEEN_MS,
      data: { bytes: changeOf(n) },
    }),
  )
  await insertRecords(store, 'log', [logRow(events)])
})
afterAll(() => store.close())

/** Up and down, below 0 too; they go to two disks in turn, whose levels add up. */
const changeOf = (n: number) => ((n * 7) % 1_000) - 499

/** The level between each two changes, and the time it lasted. */
function weighted(startMs: number, endMs: number): string {
  let [sum, level] = [0n, 0n]
  for (let n = 0; n < CHANGES; n++) {
    level += BigInt(changeOf(n))
    const since = FROM_MS + n * BETWEEN_MS
    const until = n + 1 < CHANGES ? since + BETWEEN_MS : Number.POSITIVE_INFINITY
    sum += level * BigInt(Math.max(0, Math.min(until, endMs) - Math.max(since, startMs)))
  }
  return formatQuantity(parseQuantity(String(sum)).div(String(endMs - startMs)))
}

const MONTH: UsageQuery = {
  tenant: 1,
  meter: 'level',
  aggregated: { aggregation: 'time_weighted_sum' },
  subjects: [],
  fromMs: FROM_MS,
  toMs: TO_MS,
  startsMs: windowStarts(FROM_MS, TO_MS, 'hour', 'UTC'),
  groups: [],
  bySubject: false,
}

/**
 * Issue 5, "Meters": the level from before is carried into every later window. Each window once kept all changes before
 * it, 7 million for this month, which passed the 1.5 GB that a read may take; now it adds them up as they come.
 */
test('20,000 changes of a level, asked by the hour for a month, fit into the memory of a read', async () => {
  const rows = await readUsage(store, MONTH)
  expect(rows.map(({ startMs }) => startMs)).toEqual(MONTH.startsMs)
  const wrong = rows.filter((row) => {
    const found = formatQuantity(parseSum(row.quantity))
    return found !== weighted(row.startMs, row.startMs + HOUR_MS)
  })
  expect(wrong).toEqual([])
  expect(rows.reduce((sum, { events }) => sum + Number(events), 0)).toBe(CHANGES)
  expect(formatQuantity(parseSum((await readTotal(store, MONTH)).quantity))).toBe(weighted(FROM_MS, TO_MS))
}, 300_000)
