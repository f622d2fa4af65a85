import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  countDeadLetters,
  listDeadLetters,
  noteReplay,
} from '../../../aggregator/dead-letters/dead-letters.clickhouse.ts'
import { insertDeadLetter } from '../../../aggregator/pump/insert.clickhouse.ts'
import { countPast, type Horizons, removeLetters } from '../../../aggregator/retention/letters.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'

const DAY_MS = 86_400_000
const HORIZONS: Horizons = {
  replayedMs: NOVEMBER_20 - 35 * DAY_MS,
  waitingMs: NOVEMBER_20 - 2_557 * DAY_MS,
  eventsMs: NOVEMBER_20 - 2_557 * DAY_MS,
}

let store: ClickHouseStore

beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())

/** Letters by their offset: known at a time, perhaps replayed at another. */
async function letter(offset: number, knownAtMs: number, replayedAtMs?: number): Promise<void> {
  const row = logRow([usageEvent(`${offset}`)], { offset, knownAtMs })
  await insertDeadLetter(store, 'log', row, 'a fault of the reader')
  const place = { tenant: 0, log: 'log', partition: 0, offset, knownAtMs, bytes: row.batch }
  if (replayedAtMs !== undefined) await noteReplay(store, place, 1, replayedAtMs)
}
const kept = async () =>
  (
    await store.query<{ place: number }>('SELECT toUInt32(log_offset) AS place FROM dead_letters FINAL ORDER BY place')
  ).map(({ place }) => place)

/** HC-11: retention per table; invariant 4: what was acknowledged and never counted is not dropped before its time. */
describe('dead letters', () => {
  beforeEach(async () => {
    for (const table of ['dead_letters', 'dead_letter_replays', 'ingest_ranges'])
      await store.command(`TRUNCATE TABLE ${table}`)
    await letter(1, HORIZONS.waitingMs - 1)
    await letter(2, HORIZONS.waitingMs)
    await letter(3, NOVEMBER_20 - 100 * DAY_MS)
    await letter(4, NOVEMBER_20 - 100 * DAY_MS, HORIZONS.replayedMs - 1)
    await letter(5, NOVEMBER_20 - 100 * DAY_MS, HORIZONS.replayedMs)
    // Long known, and replayed yesterday: the later of the two decides.
    await letter(6, HORIZONS.waitingMs - DAY_MS, NOVEMBER_20 - DAY_MS)
  })

  test('are counted, which removes nothing', async () => {
    expect(await countPast(store, HORIZONS)).toEqual({ replayed: 1, waiting: 1, events: 0 })
    expect(await kept()).toEqual([1, 2, 3, 4, 5, 6])
  })

  test('go when they were replayed long ago, or waited beyond their time; what waits is still listed', async () => {
    await removeLetters(store, HORIZONS)
    await removeLetters(store, HORIZONS)
    expect(await kept()).toEqual([2, 3, 5, 6])
    expect(await countPast(store, HORIZONS)).toEqual({ replayed: 0, waiting: 0, events: 0 })
    expect((await listDeadLetters(store, 0, 10)).map(({ offset }) => offset)).toEqual(['3', '2'])
    expect(await countDeadLetters(store, 0)).toBe(2)
  })

  test('a letter that was replayed again since is kept from then on', async () => {
    await letter(4, NOVEMBER_20 - 100 * DAY_MS, NOVEMBER_20 - DAY_MS)
    await removeLetters(store, HORIZONS)
    expect(await kept()).toContain(4)
  })

  test('their progress, and what says that they were replayed, stay', async () => {
    await removeLetters(store, HORIZONS)
    const [row] = await store.query<{ replays: number; dead: number }>(
      `SELECT toUInt32(count()) AS replays, (SELECT toUInt32(sum(dead)) FROM ingest_ranges FINAL) AS dead
       FROM dead_letter_replays FINAL`,
    )
    expect(row).toEqual({ replays: 3, dead: 6 })
  })

  test('events past their time are counted by when they were stored', async () => {
    await store.command(
      `INSERT INTO ingest_ranges SELECT 'old', 0, 0, 1, 120, 0, fromUnixTimestamp64Milli({at:Int64}, 'UTC')`,
      { at: HORIZONS.eventsMs - 1 },
    )
    expect(await countPast(store, HORIZONS)).toMatchObject({ events: 120 })
  })
})
