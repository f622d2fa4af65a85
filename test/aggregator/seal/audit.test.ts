import { pino } from 'pino'
import { v7 } from 'uuid'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { replayDeadLetters } from '../../../aggregator/dead-letters/replay.ts'
import { insertDeadLetter, insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import { type Audit, auditTenant } from '../../../aggregator/seal/audit.ts'
import { answerSealRequests } from '../../../aggregator/seal/seal.ts'
import { shardOf } from '../../../schemas/event/identity.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { type EventChange, logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'
import { type Metering, openMetering, type Tenant } from '../../support/metering.ts'

/** Issue 5, sealing: the audit recomputes from raw events, and says equal or names the shards that differ. */
const PERIOD = { fromMs: Date.UTC(2026, 10, 1), toMs: Date.UTC(2026, 11, 1) }
/** Two shards: their ids are a minute apart. */
const IDS = [0, 1, 60_000].map((ms) => v7({ msecs: NOVEMBER_20 - 600_000 + ms })) as [string, string, string]
const shardOfId = (id: string) => shardOf({ tenant: tenant.id, source: 'test', id })

let metering: Metering
let tenant: Tenant
let made = 0
let runs = 0
let offset = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`t-${made++}`)
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
  await tenant.call('PUT', '/meters/requests', { event_type: 'llm.request', aggregation: 'count' })
  await store(...IDS.map((id, n) => event(id, { data: { tokens: 10 ** n } })))
})

const event = (id: string, change: EventChange = {}) => usageEvent(id, { tenant: tenant.id, ...change })
/** In a log of their own, one record each. */
async function store(...events: ReturnType<typeof event>[]): Promise<void> {
  await insertRecords(metering.store, 'a-log', [logRow(events, { offset: offset++, knownAtMs: NOVEMBER_20 })])
}
const rebuild = () => {
  const now = () => Date.now() + 3_600_000
  const logger = pino({ level: 'silent' })
  return rebuildTenant({ store: metering.store, logger, now, random20: () => runs++ }, tenant.id)
}
const audit = (): Promise<Audit> =>
  auditTenant({ pool: metering.database.pool, store: metering.store }, tenant.id, PERIOD)
async function seal(knownBeforeMs: number): Promise<void> {
  const { pool } = metering.database
  await withTenant(pool, tenant.id, (tx) =>
    tx.query('INSERT INTO seal_requests VALUES (app_tenant(), $1, $2, now())', [v7(), new Date(knownBeforeMs)]),
  )
  const { reader } = metering.log
  const deps = { pool, store: metering.store, reader, now: () => metering.clock.nowMs, stopping: () => false }
  expect(await answerSealRequests(deps, tenant.id)).toBe(1)
}
/** A usage row beside those that the shard's rebuild wrote. */
const plant = (shard: number, meter: string, quantity: number, events: number) =>
  metering.store.command(
    `INSERT INTO usage_rollup (tenant, meter, subject, bucket, group_values, known_hour, shard, run, quantity, events, digest)
     SELECT {tenant:UInt32}, {meter:String}, 'customer-1', toDateTime('2026-11-20 12:00:00', 'UTC'), [],
       toDateTime('2026-11-20 12:00:00', 'UTC'), {shard:UInt64}, max(run), {quantity:Int64}, {events:UInt64}, 0
     FROM shard_heads WHERE tenant = {tenant:UInt32} AND shard = {shard:UInt64}`,
    { tenant: tenant.id, meter, shard, quantity, events },
  )

describe('what is right is equal', () => {
  const meters = [
    { meter: 'requests', events: 3, quantity: '3' },
    { meter: 'tokens', events: 3, quantity: '111' },
  ]

  test('before the first rebuild there is nothing to compare; after it every shard is', async () => {
    expect(await audit()).toMatchObject({ equal: true, shards: 2, liveShards: 2, events: { events: 3 }, meters })
    expect(await rebuild()).toBe(2)
    expect(await audit()).toMatchObject({ equal: true, shards: 2, liveShards: 0, meters, differences: [] })
    expect(await rebuild()).toBe(0)
  })

  test('a shard with events since its rebuild has nothing to compare', async () => {
    await rebuild()
    await store(event(IDS[0], { data: { tokens: 5 } }), event(v7({ msecs: NOVEMBER_20 - 600_000 })))
    expect(await audit()).toMatchObject({ equal: true, shards: 2, liveShards: 1, events: { events: 4 } })
  })

  test('only the period is counted', async () => {
    await store(event('older', { timeMs: PERIOD.fromMs - 1 }), event('newer', { timeMs: PERIOD.toMs }))
    await store(event('first', { timeMs: PERIOD.fromMs }), event('last', { timeMs: PERIOD.toMs - 1 }))
    await rebuild()
    expect(await audit()).toMatchObject({ equal: true, events: { events: 5 }, meters: [{ events: 5 }, { events: 5 }] })
  })

  test('the last seal is recomputed: identities first known before its W, whatever their time', async () => {
    expect((await audit()).seal).toBeUndefined()
    await store(event('older', { timeMs: PERIOD.fromMs - 1 }))
    metering.clock.nowMs = NOVEMBER_20 + 10
    await seal(NOVEMBER_20)
    await seal(NOVEMBER_20 + 1)
    const sealed = { events: 4, digest: expect.stringMatching(/^\d+$/) }
    const { seal: found, events } = await audit()
    expect(found).toMatchObject({ equal: true, knownBeforeMs: NOVEMBER_20 + 1, sealed, recomputed: sealed })
    expect(found?.logOffsets).toEqual({ [metering.log.lmdb.logId]: await metering.log.reader.ends() })
    expect(events.events).toBe(3)
  })
})

describe('what is wrong is named', () => {
  test.each([
    ['a meter’s quantity', 'tokens', 7, 0],
    ['a meter’s events', 'tokens', 0, 1],
    ['the number of all events', '', 0, 1],
    ['a meter that does not exist', 'ghost', 1, 1],
  ])('a planted row that changes %s: its shard and meter', async (_what, meter, quantity, events) => {
    await rebuild()
    const shard = shardOfId(IDS[2])
    await plant(shard, meter, quantity, events)
    const { equal, differences } = await audit()
    expect(equal).toBe(false)
    expect(differences.map((one) => [one.shard, one.meter])).toEqual([[shard, meter]])
  })

  test('two planted rows that cancel out in every sum', async () => {
    await rebuild()
    const shard = shardOfId(IDS[0])
    await plant(shard, 'tokens', 5, 0)
    await plant(shard, 'tokens', -5, 0)
    expect(await audit()).toMatchObject({ equal: false, differences: [{ shard, meter: 'tokens' }] })
  })

  test('a rollup whose rows are gone', async () => {
    await rebuild()
    await metering.store.command(`DELETE FROM usage_rollup WHERE tenant = ${tenant.id} AND meter = 'tokens'`)
    const { equal, differences } = await audit()
    expect(equal).toBe(false)
    expect(differences).toEqual(
      [...new Set(IDS.map(shardOfId))].sort().map((shard) => ({
        shard,
        meter: 'tokens',
        fromEvents: expect.objectContaining({ events: expect.any(String) }),
        fromRollup: undefined,
      })),
    )
  })

  test('a seal that events were lost, or added, since: a replayed dead letter is told as why', async () => {
    const letter = logRow([event('unread')], { offset: offset++, knownAtMs: NOVEMBER_20 })
    await insertDeadLetter(metering.store, 'a-log', letter, 'a fault of the reader')
    metering.clock.nowMs = NOVEMBER_20 + 10
    await seal(NOVEMBER_20 + 1)
    expect((await audit()).seal).toMatchObject({ equal: true, sealed: { events: 3 }, replaysSince: 0 })
    await replayDeadLetters({ store: metering.store, now: () => Date.now() + 1 }, [0], undefined)
    expect(await audit()).toMatchObject({
      equal: false,
      differences: [],
      seal: { equal: false, sealed: { events: 3 }, recomputed: { events: 4 }, replaysSince: 1 },
    })
    await metering.store.command(`DELETE FROM events WHERE tenant = ${tenant.id} AND id != 'unread'`)
    expect((await audit()).seal).toMatchObject({ equal: false, recomputed: { events: 1 } })
  })

  test('a hole in what is stored of a log', async () => {
    offset++
    await store(event('after the hole'))
    const { equal, logs } = await audit()
    expect(equal).toBe(false)
    expect(logs.find(({ log }) => log === 'a-log')).toMatchObject({ end: offset - 2, last: offset })
    await insertRecords(metering.store, 'a-log', [logRow([], { offset: offset - 2, knownAtMs: NOVEMBER_20 })])
    expect((await audit()).equal).toBe(true)
  })
})

test('another tenant’s rollup and events are its own (EPIC-5)', async () => {
  await rebuild()
  await plant(shardOfId(IDS[0]), 'tokens', 1, 1)
  tenant = await metering.tenant(`t-${made++}`)
  expect(await audit()).toMatchObject({ equal: true, shards: 0, events: { events: 0, digest: '0' }, meters: [] })
})
