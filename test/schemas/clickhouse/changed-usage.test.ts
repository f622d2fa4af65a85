import { afterAll, beforeAll, expect, test } from 'vitest'
import { readChangedSubjects } from '../../../schemas/clickhouse/changed-usage.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { encodeOperation } from '../../../schemas/event/operation.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'

const TENANT = 1
let store: ClickHouseStore
let version = 1_000

const clickTime = (iso: string) => iso.replace('T', ' ').replace('Z', '')

/** A row as the pump leaves it, in a shard of its own by id, with the mark of its shard. */
async function row(
  id: string,
  shard: number,
  subject: string,
  time: string,
  knownAt: string,
  type = 'call',
  data = '{}',
) {
  version -= 1
  await store.command(
    `INSERT INTO events (tenant, shard, source, id, payload, type, subject, time, time_given, data, known_at, version)
     SELECT {tenant:UInt32}, {shard:UInt64}, 'test', {id:String}, {version:UInt32}, {type:String}, {subject:String},
       {time:DateTime64(3, 'UTC')}, true, {data:String}, {known:DateTime64(3, 'UTC')}, {version:UInt32}`,
    { tenant: TENANT, shard, id, version, type, subject, data, time: clickTime(time), known: clickTime(knownAt) },
  )
  await store.command(
    `INSERT INTO shard_changes (tenant, shard, log, partition, known_hour, next_offset)
     SELECT {tenant:UInt32}, {shard:UInt64}, 'log', 0, toStartOfHour({known:DateTime64(3, 'UTC')}), 9`,
    { tenant: TENANT, shard, known: clickTime(knownAt) },
  )
}

beforeAll(async () => {
  store = await openUsageStore()
  await row('on-time', 1, 'ann', '2023-11-10T00:00:00Z', '2023-11-10T00:00:01Z')
  await row('late', 1, 'bob', '2023-11-11T00:00:00Z', '2023-12-03T10:30:00Z')
  await row('later', 2, 'bob', '2023-11-20T12:00:00Z', '2023-12-03T10:31:00Z')
  await row('now', 2, 'cid', '2023-12-03T10:31:00Z', '2023-12-03T10:31:00Z')
  await row('voided', 3, 'dan', '2023-11-12T00:00:00Z', '2023-11-12T00:00:01Z')
  const said = { reason: 'wrong', by: 'me' }
  const voided = encodeOperation({ operation: '1', ...said })
  await row('voided', 3, 'dan', '2023-12-04T00:00:00Z', '2023-12-04T00:00:00Z', 'tallyline.void', voided)
  await row('moved', 4, 'eve', '2023-11-13T00:00:00Z', '2023-11-13T00:00:01Z')
  const replacement = { type: 'call', subject: 'fay', timeMs: Date.UTC(2023, 10, 14), dataJson: '{"tokens":1}' }
  const replaced = encodeOperation({ operation: '2', ...said, replacement })
  await row('moved', 4, 'eve', '2023-12-05T00:00:00Z', '2023-12-05T00:00:00Z', 'tallyline.replace', replaced)
})
afterAll(() => store.close())

const look = (steps: readonly (readonly [string, string])[], knownBefore: string, tenant = TENANT) =>
  readChangedSubjects(store, {
    tenant,
    steps: steps.map(([knownFrom, happenedBefore]) => ({
      knownFromMs: Date.parse(knownFrom),
      happenedBeforeMs: Date.parse(happenedBefore),
    })),
    knownBeforeMs: Date.parse(knownBefore),
  }).then((rows) => rows.map(({ subject, firstMs, lastMs }) => [subject, ...[firstMs, lastMs].map(dayOf)]))
const ask = (since: string, knownBefore: string, happenedBefore = '2023-12-01T00:00:00Z', tenant = TENANT) =>
  look([[since, happenedBefore]], knownBefore, tenant)
const dayOf = (ms: number) => new Date(ms).toISOString().slice(8, 10)

/** billing-rules "Usage that comes late": what was known when a period was billed is not looked for again. */
test('subjects whose usage of before changed since are found by events, voids and replacements', async () => {
  expect(await ask('2023-12-01T00:00:00Z', '2023-12-10T00:00:00Z')).toEqual([
    ['bob', '11', '20'],
    ['dan', '12', '12'],
    // Where it was counted, and where it counts now.
    ['eve', '13', '13'],
    ['fay', '14', '14'],
  ])
})

test('each moment is looked at once, to the millisecond, and tenants apart', async () => {
  expect(await ask('2023-12-03T10:30:00Z', '2023-12-03T10:31:00Z')).toEqual([['bob', '11', '11']])
  expect(await ask('2023-12-03T10:31:00Z', '2023-12-03T10:31:00.001Z')).toEqual([['bob', '20', '20']])
  expect(await ask('2023-12-03T10:31:00.001Z', '2023-12-04T00:00:00Z')).toEqual([])
  expect(await ask('2023-11-01T00:00:00Z', '2023-12-10T00:00:00Z', '2023-12-01T00:00:00Z', 2)).toEqual([])
})

test('a dead letter that is read again keeps when it came, and is found since it was read', async () => {
  await store.command(
    `INSERT INTO dead_letters (tenant, log, partition, log_offset, known_at, reason, bytes_base64)
     VALUES (1, 'log', 0, 5, '2023-11-15 00:00:00', 'unreadable', '')`,
  )
  await row('revived', 5, 'gus', '2023-11-14T00:00:00Z', '2023-11-15T00:00:00Z')
  expect(await ask('2023-12-06T00:00:00Z', '2023-12-10T00:00:00Z')).toEqual([])
  await store.command(
    `INSERT INTO dead_letter_replays (tenant, log, partition, log_offset, replayed_at, events)
     VALUES (1, 'log', 0, 5, '2023-12-07 00:00:00', 1)`,
  )
  const found = await ask('2023-12-06T00:00:00Z', '2023-12-10T00:00:00Z')
  expect(found).toContainEqual(['gus', '14', '14'])
  expect(found.map(([subject]) => subject)).not.toContain('ann')
  expect(await ask('2023-12-08T02:00:00Z', '2023-12-10T00:00:00Z')).toEqual([])
})

/**
 * It used to be a rectangle: after an old moment all that was on time for the periods billed since was late, more than a
 * statement may hold, and no run of the tenant could end any more.
 */
test('what was on time for all periods billed by then is not late, however far back the look begins', async () => {
  const billed = [
    ['2024-02-01T01:00:00Z', '2024-02-01T00:00:00Z'],
    ['2024-03-01T01:00:00Z', '2024-03-01T00:00:00Z'],
    ['2024-04-01T01:00:00Z', '2024-04-01T00:00:00Z'],
  ] as const
  await row('s-on-time', 6, 'ida', '2024-02-10T00:00:00Z', '2024-02-10T00:00:01Z')
  await row('s-in-time', 6, 'ida', '2024-03-11T00:00:00Z', '2024-03-31T00:00:00Z')
  await row('s-late', 6, 'jon', '2024-01-30T00:00:00Z', '2024-02-01T01:00:00Z')
  await row('s-later', 6, 'kim', '2024-02-29T00:00:00Z', '2024-03-01T01:00:00Z')
  await row('s-not-yet', 6, 'lea', '2024-02-29T00:00:00Z', '2024-03-01T00:59:59.999Z')
  await row('s-newest', 7, 'moe', '2024-03-31T00:00:00Z', '2024-04-02T00:00:00Z')
  // Voided before its period was billed, and behind it.
  const voided = encodeOperation({ operation: '3', reason: 'wrong', by: 'me' })
  for (const [id, subject, at] of [
    ['s-void', 'ned', '2024-02-20T00:00:00Z'],
    ['s-void-late', 'ora', '2024-03-20T00:00:00Z'],
  ] as const) {
    await row(id, 8, subject, '2024-02-12T00:00:00Z', '2024-02-12T00:00:01Z')
    await row(id, 8, subject, at, at, 'tallyline.void', voided)
  }
  // Replaced before it became known itself: late.
  const said = { reason: 'wrong', by: 'me' }
  const replacement = { type: 'call', subject: 'sue', timeMs: Date.UTC(2024, 1, 14), dataJson: '{}' }
  const replaced = encodeOperation({ operation: '4', ...said, replacement })
  await row('s-first', 8, 'rob', '2024-02-20T00:00:00Z', '2024-02-20T00:00:00Z', 'tallyline.replace', replaced)
  await row('s-first', 8, 'rob', '2024-02-13T00:00:00Z', '2024-03-02T00:00:00Z')
  const found = [
    ['jon', '30', '30'],
    ['kim', '29', '29'],
    ['moe', '31', '31'],
    ['ora', '12', '12'],
    ['rob', '13', '13'],
    ['sue', '14', '14'],
  ]
  expect(await look(billed, '2024-05-01T00:00:00Z')).toEqual(found)

  // Letters of long ago that were read again now: that the periods of then were not billed yet is no matter.
  for (const [tenant, offset, at] of [
    [TENANT, 6, '2023-10-02 00:00:00.500'],
    [2, 7, '2024-02-10 00:00:01'],
  ] as const) {
    await store.command(
      `INSERT INTO dead_letters (tenant, log, partition, log_offset, known_at, reason, bytes_base64)
       SELECT {tenant:UInt32}, 'log', 0, {offset:UInt64}, {at:DateTime64(3, 'UTC')}, 'unreadable', ''`,
      { tenant, offset, at },
    )
    await store.command(
      `INSERT INTO dead_letter_replays (tenant, log, partition, log_offset, replayed_at, events)
       SELECT {tenant:UInt32}, 'log', 0, {offset:UInt64}, '2024-04-03 00:00:00', 1`,
      { tenant, offset },
    )
  }
  await row('s-letter', 9, 'pam', '2023-10-02T00:00:00Z', '2023-10-02T00:00:00.500Z')
  await row('s-then', 9, 'quy', '2023-10-02T00:00:00Z', '2023-10-02T00:00:00.501Z')
  // ida's event lies in the millisecond of another tenant's letter.
  expect(await look(billed, '2024-05-01T00:00:00Z')).toEqual([...found, ['pam', '02', '02']].sort())
})
