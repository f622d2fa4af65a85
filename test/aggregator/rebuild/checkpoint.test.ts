import fc from 'fast-check'
import { pino } from 'pino'
import { v7 } from 'uuid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { shardsBehind } from '../../../aggregator/rebuild/checkpoint.clickhouse.ts'
import { advanceCheckpoint, endsBelow } from '../../../aggregator/rebuild/checkpoint.ts'
import { dirtyShards } from '../../../aggregator/rebuild/rebuild.clickhouse.ts'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import { readTotal } from '../../../aggregator/usage/usage.clickhouse.ts'
import { readCheckpoint } from '../../../schemas/clickhouse/shard-state.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, usageEvent } from '../../support/log-events.ts'

const METER = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' } as const
const OLD_MS = Date.UTC(2026, 4, 1)
const SLICE_MS = 10_000

let store: ClickHouseStore
let tenant = 0
beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())

/** A tenant whose events lie one in a shard; `store` is the one that its aggregator has. */
async function openTenant(aggregatorStore: ClickHouseStore) {
  const ours = ++tenant
  await copyMeter(store, ours, 'tokens', METER, { revision: 1 })
  let runs = 0
  const logger = pino({ level: 'silent' })
  const deps = { store: aggregatorStore, logger, now: () => Date.now() + 3_600_000, random20: () => runs++ }
  const add = async (slice: number, partition: number, offset: number, log = `log-${ours}`) => {
    const timeMs = OLD_MS + slice * SLICE_MS
    const event = usageEvent(v7({ msecs: timeMs }), { tenant: ours, timeMs, data: { tokens: 1 } })
    await insertRecords(store, log, [logRow([event], { partition, offset, knownAtMs: OLD_MS })])
  }
  const used = async () => {
    const span = { fromMs: OLD_MS, toMs: OLD_MS + 86_400_000, startsMs: [OLD_MS] }
    return (
      await readTotal(store, { tenant: ours, meter: 'tokens', subjects: [], ...span, groups: [], bySubject: false })
    ).events
  }
  return {
    ...{ id: ours, add, used },
    rebuild: () => rebuildTenant(deps, ours),
    checkpoint: () => advanceCheckpoint(aggregatorStore, ours, 0),
    dirty: async () => (await dirtyShards(store, ours, 100)).length,
    looked: async () => (await shardsBehind(store, ours)).looked,
  }
}

/** Design §4.1, decision 0017: a checkpoint passes over what did not change, and over nothing else. */
describe('a checkpoint', () => {
  test('shards that did not change are not looked at; what comes after it is, in old shards and in new ones', async () => {
    const tenant = await openTenant(store)
    for (const slice of [0, 1, 2]) await tenant.add(slice, 0, slice)
    await tenant.rebuild()
    expect(await tenant.looked()).toBe(3)
    expect(await tenant.checkpoint()).toBe(true)
    expect(await tenant.looked()).toBe(0)
    expect(await tenant.used()).toBe('3')
    await tenant.add(1, 0, 3)
    await tenant.add(9, 1, 0)
    expect(await tenant.looked()).toBe(2)
    expect(await tenant.used()).toBe('5')
    expect(await tenant.rebuild()).toBe(2)
    expect(await tenant.used()).toBe('5')
  })

  test('a shard that is dirty when it is written lies behind it', async () => {
    const tenant = await openTenant(store)
    await tenant.add(0, 0, 0)
    await tenant.rebuild()
    await tenant.add(1, 0, 1)
    await tenant.checkpoint()
    expect(await tenant.dirty()).toBe(1)
    expect(await tenant.used()).toBe('2')
  })

  test('behind a gap of what is stored nothing is passed over, and a log that is new is looked at whole', async () => {
    const tenant = await openTenant(store)
    await tenant.add(0, 0, 0)
    await tenant.add(1, 0, 5)
    await tenant.rebuild()
    await tenant.checkpoint()
    expect(await tenant.looked()).toBe(1)
    await tenant.add(2, 0, 3)
    await tenant.add(3, 0, 0, `log-${tenant.id}-again`)
    expect(await tenant.used()).toBe('4')
    expect(await tenant.dirty()).toBe(2)
  })

  test('while shards are not built with a new meter it speaks for the meters of before', async () => {
    const tenant = await openTenant(store)
    await tenant.add(0, 0, 0)
    await tenant.rebuild()
    await tenant.checkpoint()
    await copyMeter(store, tenant.id, 'later', METER, { revision: 2 })
    await tenant.add(1, 0, 1)
    expect(await tenant.dirty()).toBe(2)
    await tenant.checkpoint()
    expect((await readCheckpoint(store, tenant.id)).revision).toBe(1)
    await tenant.rebuild()
    await tenant.checkpoint()
    expect((await readCheckpoint(store, tenant.id)).revision).toBe(2)
    expect(await tenant.looked()).toBe(0)
  })

  test('one that does not lie below the dirty shards would lose them: the test above fails then', async () => {
    const planted = await openTenant({
      ...store,
      command: (sql, params) => {
        const ends = params?.ends
        const raised = sql.includes('INSERT INTO shard_checkpoints') && Array.isArray(ends) && ends.map(() => 2)
        return store.command(sql, raised ? { ...params, ends: raised } : params)
      },
    })
    await planted.add(0, 0, 0)
    await planted.rebuild()
    await planted.add(1, 0, 1)
    await planted.checkpoint()
    expect(await planted.used()).toBe('1')
  })
})

test('ends are lowered below every mark of their partition, and never raised', () => {
  const end = fc.record({
    log: fc.constantFrom('a', 'b'),
    partition: fc.nat({ max: 2 }),
    end: fc.integer({ min: 1, max: 50 }),
  })
  fc.assert(
    fc.property(
      fc.uniqueArray(end, { selector: (one) => `${one.log} ${one.partition}` }),
      fc.array(end),
      (stored, marks) => {
        for (const [place, { log, partition, end }] of endsBelow(stored, marks).entries()) {
          expect(end).toBeLessThanOrEqual(stored[place]!.end)
          for (const mark of marks) {
            if (mark.log === log && mark.partition === partition) expect(mark.end).toBeGreaterThan(end)
          }
        }
      },
    ),
  )
})
