import { pino } from 'pino'
import { v7 } from 'uuid'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { dirtyShards, startRun, writeHeads, writeRollup } from '../../../aggregator/rebuild/rebuild.clickhouse.ts'
import { cleanTenant, type RebuildDeps, rebuildTenant, runNumber } from '../../../aggregator/rebuild/rebuild.ts'
import { readUsage } from '../../../aggregator/usage/usage.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { type EventChange, logRow, usageEvent } from '../../support/log-events.ts'

const METER = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' } as const
const OLD_MS = Date.UTC(2026, 4, 1)
const IDS = Array.from({ length: 6 }, (_, n) => v7({ msecs: OLD_MS + n }))

let store: ClickHouseStore
let tenant = 0
let offset = 0
let deps: RebuildDeps

beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())
beforeEach(async () => {
  tenant++
  await copyMeter(store, tenant, 'tokens', METER, { revision: 1 })
  let runs = 0
  deps = {
    store,
    logger: pino({ level: 'silent' }),
    // Later than any slice or rebuild of this test: everything dirty is ripe.
    now: () => Date.now() + 3_600_000,
    random20: () => runs++,
  }
})

async function add(...events: [string | undefined, EventChange?][]): Promise<void> {
  const encoded = events.map(([id = '', change]) =>
    usageEvent(id, { tenant, data: { tokens: 1 }, timeMs: OLD_MS, ...change }),
  )
  await insertRecords(store, `log-${tenant}`, [logRow(encoded, { offset: offset++, knownAtMs: OLD_MS })])
}

async function used(meter = 'tokens'): Promise<string> {
  const fromMs = Date.UTC(2026, 4, 1)
  const toMs = Date.UTC(2026, 5, 1)
  const rows = await readUsage(store, {
    ...{ tenant, meter, subjects: [], fromMs, toMs, startsMs: [fromMs], groups: [], bySubject: false },
  })
  return rows.map((row) => `${Number(row.quantity)} in ${row.events}`).join()
}

const dirty = () => dirtyShards(store, tenant, 100)

describe('a rebuild', () => {
  test('makes dirty shards clean, and changes no number', async () => {
    await add([IDS[0]], [IDS[1]], ['opaque'])
    expect(await dirty()).toHaveLength(2)
    expect(await used()).toBe('3 in 3')
    expect(await rebuildTenant(deps, tenant)).toBe(2)
    expect(await dirty()).toEqual([])
    expect(await used()).toBe('3 in 3')
    expect(await rebuildTenant(deps, tenant)).toBe(0)
  })

  test('recomputes from the set of identities: copies of later add nothing (invariant 1)', async () => {
    await add([IDS[0]], [IDS[1]])
    for (let round = 0; round < 3; round++) {
      await rebuildTenant(deps, tenant)
      await add([IDS[0]], [IDS[1], { data: { tokens: 50 } }], [IDS[1]])
      expect(await dirty()).toHaveLength(1)
      expect(await used()).toBe('2 in 2')
    }
    await add([IDS[2]])
    await rebuildTenant(deps, tenant)
    expect(await used()).toBe('3 in 3')
  })

  test('answers the same from rollups as from events, at every step of a rebuild', async () => {
    await add([IDS[0]], [IDS[1]])
    await rebuildTenant(deps, tenant)
    await add([IDS[2]])
    const shards = await dirty()
    const numbers = shards.map(({ shard }) => shard)
    const { startedAtMs, revision } = await startRun(store, tenant)
    const run = runNumber(startedAtMs, 77)
    await writeRollup(store, tenant, numbers, run)
    expect(await used()).toBe('3 in 3')
    await writeHeads(store, tenant, shards, run, revision)
    expect(await used()).toBe('3 in 3')
    expect(await dirty()).toEqual([])
  })

  test('a meter made later makes shards dirty again, and is in the next rollup', async () => {
    await add([IDS[0]])
    await rebuildTenant(deps, tenant)
    const requests = { event_type: 'llm.request', aggregation: 'count' } as const
    await copyMeter(store, tenant, 'requests', requests, { revision: 2 })
    expect([await used(), await used('requests')]).toEqual(['1 in 1', '1 in 1'])
    expect(await rebuildTenant(deps, tenant)).toBe(1)
    expect([await used(), await used('requests')]).toEqual(['1 in 1', '1 in 1'])
  })
})

describe('a slower rebuilder', () => {
  test('with an older set never wins, whenever its head comes', async () => {
    await add([IDS[0]])
    const before = await dirty()
    const slow = runNumber(Date.now(), 1)
    await writeRollup(
      store,
      tenant,
      before.map(({ shard }) => shard),
      slow,
    )
    await add([IDS[1]])
    await rebuildTenant(deps, tenant)
    expect(await used()).toBe('2 in 2')
    await writeHeads(store, tenant, before, slow, 1)
    expect(await used()).toBe('2 in 2')
    await store.command('OPTIMIZE TABLE shard_heads FINAL')
    expect(await used()).toBe('2 in 2')
    expect(await dirty()).toEqual([])
  })

  test('with the same set does no harm: one of the two runs is read', async () => {
    await add([IDS[0]], [IDS[1]])
    const shards = await dirty()
    for (const random of [1, 2]) {
      const run = runNumber(Date.now(), random)
      await writeRollup(
        store,
        tenant,
        shards.map(({ shard }) => shard),
        run,
      )
      await writeHeads(store, tenant, shards, run, 1)
    }
    expect(await used()).toBe('2 in 2')
  })

  test('that died before its head leaves rows that nobody reads, and that are removed', async () => {
    await add([IDS[0]])
    const shards = await dirty()
    await writeRollup(
      store,
      tenant,
      shards.map(({ shard }) => shard),
      runNumber(OLD_MS, 1),
    )
    expect(await used()).toBe('1 in 1')
    await rebuildTenant(deps, tenant)
    expect(await used()).toBe('1 in 1')
    await cleanTenant(deps, tenant)
    expect(await runs()).toBe(1)
    expect(await used()).toBe('1 in 1')
  })

  /**
   * Its rows lost to nothing, but are old: another aggregator finds no head that names them. Then the rebuilder wakes
   * and writes its heads, then the rows go: the head used to stay, and the shard had no usage until its next event.
   */
  test('that slept before its head, and wakes while another aggregator removes its rows, changes no number', async () => {
    await add([IDS[0]], [IDS[1]])
    const shards = await dirty()
    const slept = async (ms: number) => {
      const run = runNumber(Date.now() - ms, 5)
      await writeRollup(
        store,
        tenant,
        shards.map(({ shard }) => shard),
        run,
      )
      return () => writeHeads(store, tenant, shards, run, 1)
    }
    const wake = await slept(3_600_000)
    let woken = 0
    const command: ClickHouseStore['command'] = async (sql, params) => {
      if (sql.includes('DELETE FROM usage_rollup') && woken++ === 0) await wake()
      return store.command(sql, params)
    }
    await cleanTenant({ ...deps, store: { ...store, command } }, tenant)
    expect(woken).toBe(1)
    expect(await runs()).toBe(0)
    expect(await used()).toBe('2 in 2')
    expect(await dirty()).toHaveLength(1)
    await wake()
    expect(await used()).toBe('2 in 2')
    // One that slept for less than it takes until rows are removed is still in time.
    const wakeInTime = await slept(60_000)
    await cleanTenant(deps, tenant)
    await wakeInTime()
    expect(await dirty()).toEqual([])
    expect(await used()).toBe('2 in 2')
  })

  test('whose clock is wrong is not taken for one that slept: runs begin by the clock of ClickHouse', async () => {
    await add([IDS[0]])
    await rebuildTenant({ ...deps, now: () => Date.now() + 40 * 86_400_000 }, tenant)
    const [row] = await store.query<{ age: string }>(
      `SELECT toString(toUnixTimestamp64Milli(now64(3)) - toInt64(bitShiftRight(max(run), 20))) AS age
       FROM shard_heads WHERE tenant = {tenant:UInt32}`,
      { tenant },
    )
    expect(Number(row?.age)).toBeLessThan(600_000)
    expect(Number(row?.age)).toBeGreaterThanOrEqual(0)
  })
})

async function runs(): Promise<number> {
  const [row] = await store.query<{ runs: number }>(
    'SELECT toUInt32(uniqExact(run)) AS runs FROM usage_rollup WHERE tenant = {tenant:UInt32}',
    { tenant },
  )
  return row?.runs ?? -1
}
