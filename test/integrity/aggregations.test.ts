import { afterAll, beforeAll, expect, test } from 'vitest'
import { insertRecords } from '../../aggregator/pump/insert.clickhouse.ts'
import { dirtyShards, startRun, writeHeads, writeRollup } from '../../aggregator/rebuild/rebuild.clickhouse.ts'
import { runNumber } from '../../aggregator/rebuild/rebuild.ts'
import { readTotal } from '../../aggregator/usage/usage.clickhouse.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { copyMeter } from '../support/copy-meter.ts'
import { openUsageStore } from '../support/embedded-stores.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../support/log-events.ts'
import { drawSeed, randomOf } from '../support/random.ts'
import { createAggregationsWorld, METERS } from './aggregations-world.ts'
import { rereading } from './planted-views.ts'

let store: ClickHouseStore
const seed = drawSeed('aggregations')

beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())

/** Issue 5, "Exactness": every aggregation, window and moment, with voids and replacements; invariant 1. */
test('every aggregation is that of the set of identities, whatever came, was corrected and was rebuilt', async () => {
  const world = await createAggregationsWorld(store, 1, randomOf(seed))
  for (let round = 0; round < 3; round++) {
    for (let batch = 0; batch < 4; batch++) await world.arrive()
    if (round > 0) await world.rebuildSome()
    for (const meter of METERS) expect(await world.ask(meter)).toEqual([])
  }
}, 600_000)

const HOUR_MS = 3_600_000
const KNOWN_MS = Date.UTC(2026, 10, 20, 12, 30)
const METER = { event_type: 'llm.request', aggregation: 'max', value: 'tokens' } as const

/** An event, an hour later its void, and a rebuild after each: what was known before the void, and now. */
async function voidedAfterRebuild(tenant: number, reads = store): Promise<string[]> {
  await copyMeter(store, tenant, 'peak', METER, { revision: 1 })
  const events = [
    usageEvent('voided', { tenant, data: { tokens: 7 } }),
    usageEvent('kept', { tenant, data: { tokens: 3 } }),
  ]
  const voided = { ...usageEvent('voided', { tenant, type: 'tallyline.void', subject: '' }), data: '{"operation":"o"}' }
  for (const [hour, some] of [events, [voided]].entries()) {
    await insertRecords(store, `log-${tenant}`, [logRow(some, { knownAtMs: KNOWN_MS + hour * HOUR_MS, offset: hour })])
    const dirty = await dirtyShards(store, tenant, 100)
    const { startedAtMs, revision } = await startRun(store, tenant)
    const run = runNumber(startedAtMs, hour)
    const shards = dirty.map(({ shard }) => shard)
    await writeRollup(store, tenant, shards, run)
    await writeHeads(store, tenant, dirty, run, revision)
  }
  const answers: string[] = []
  for (const asOfMs of [KNOWN_MS + HOUR_MS - 1, KNOWN_MS + HOUR_MS / 2, KNOWN_MS + 2 * HOUR_MS]) {
    const span = { fromMs: NOVEMBER_20 - HOUR_MS, toMs: NOVEMBER_20 + HOUR_MS, startsMs: [NOVEMBER_20 - HOUR_MS] }
    const query = {
      tenant,
      meter: 'peak',
      aggregated: METER,
      subjects: [],
      ...span,
      groups: [],
      bySubject: false,
      asOfMs,
    }
    const { quantity, events } = await readTotal(reads, query)
    answers.push(`${quantity} of ${events}`)
  }
  return answers
}

/** Issue 5, "Corrections": the maximum comes out right after a void, and as of before it, inside an hour or at its end. */
test('a void takes effect when it became known, also where the rollup was rebuilt since', async () => {
  expect(await voidedAfterRebuild(2)).toEqual(['7 of 2', '7 of 2', '3 of 1'])
}, 300_000)

/** A reading that does not ask when operations became known. */
function forgettingOperations(sound: ClickHouseStore): ClickHouseStore {
  const condition = /OR \(\{every:UInt8\} = 0 AND operations_hour >= .*\)/
  let forgotten = 0
  return {
    ...sound,
    query: (sql, params) => {
      if (condition.test(sql)) forgotten += 1
      else if (sql.includes('(shard, run) IN') && forgotten === 0)
        throw new Error('Live shards are found otherwise now: plant the bug anew')
      return sound.query(sql.replace(condition, ''), params)
    },
  }
}

/** Invariant 9: the test above fails where a rollup shows what was corrected after the moment that is asked for. */
test('a reading of corrected rollups as of a moment before the correction is found out', async () => {
  const forgetting = forgettingOperations(store)
  // What forgets to ask is refused where rollups are read; wrong numbers take a reading that forgets it, too.
  await expect(voidedAfterRebuild(3, forgetting)).rejects.toThrow('operations known after as_of')
  const refusal = 'operations_hour >= toStartOfHour('
  const forgettingTwice = rereading(forgetting, [
    [`throwIf(\n        ${refusal}`, 'throwIf(toDateTime(0) >= toStartOfHour('],
  ])
  const answers = await voidedAfterRebuild(4, forgettingTwice)
  expect(answers).toEqual(['7 of 2', '3 of 1', '3 of 1'])
}, 300_000)
