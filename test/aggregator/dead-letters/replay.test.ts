import { pino } from 'pino'
import { v7 } from 'uuid'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { insertDeadLetter, insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import type { LogRow } from '../../../schemas/event/usage-batch.avro.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'
import { type Json, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

/** Issue 5: replay after a fix, nothing dropped. Records that were kept as dead letters although they can be read. */
let metering: Metering
let operator: Tenant
let tenant: Tenant
let log: string
let made = 0
const runs = { next: 0 }

beforeAll(async () => {
  metering = await openMetering()
  operator = await metering.tenant('operator', undefined, true)
})
afterAll(() => metering.close())
beforeEach(async () => {
  log = `log-${made++}`
  tenant = await metering.tenant(`t-${made}`)
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
})

const event = (id: string, tokens: number) => usageEvent(id, { tenant: tenant.id, data: { tokens } })
const recordAt = (offset: number, ...events: ReturnType<typeof event>[]) =>
  logRow(events, { offset, knownAtMs: NOVEMBER_20 + offset })
const keep = (row: LogRow) => insertDeadLetter(metering.store, log, row, 'a fault of the reader')
const replay = (body: Json, by = operator) => by.call('POST', '/dead-letters/replay', body)
const at = (offset: number) => ({ log, partition: 0, offset })
async function waiting(): Promise<Json[]> {
  const { body } = await operator.call('GET', '/dead-letters?limit=1000')
  return (body.dead_letters as Json[]).filter((letter) => letter.log === log)
}
async function used(): Promise<string> {
  const { body } = await tenant.call('GET', '/usage?meter=tokens&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z')
  const { quantity, events } = body.total as { quantity: string; events: number }
  return `${quantity} in ${events}`
}
/** Later than any slice or rebuild: every dirty shard is rebuilt. */
const rebuild = async () => {
  const now = () => Date.now() + 3_600_000
  const deps = { store: metering.store, logger: pino({ level: 'silent' }), now, random20: () => runs.next++ }
  return rebuildTenant(deps, tenant.id)
}

test('a letter that can be read now counts, once, however often it is replayed', async () => {
  await keep(recordAt(0, event('a', 3), event('b', 4)))
  expect(await used()).toBe('0 in 0')
  expect(await replay(at(0))).toEqual({
    status: 200,
    headers: expect.anything(),
    body: {
      ...{ replayed: 1, events: 2, unreadable: 0, waiting: expect.any(Number) },
      records: [{ ...at(0), outcome: 'replayed', events: 2 }],
    },
  })
  expect(await used()).toBe('7 in 2')
  expect(await waiting()).toEqual([])
  expect((await replay(at(0))).status).toBe(404)
  // As after a crash before the letter was noted as replayed.
  await metering.store.command(`DELETE FROM dead_letter_replays WHERE log = '${log}'`)
  expect(await waiting()).toHaveLength(1)
  expect((await replay(at(0))).status).toBe(200)
  expect(await used()).toBe('7 in 2')
})

test('its place in the log decides: a copy of later on in the log does not count any more', async () => {
  const id = v7({ msecs: NOVEMBER_20 })
  await keep(recordAt(0, event(id, 3)))
  await insertRecords(metering.store, log, [recordAt(1, event(id, 100))])
  expect(await used()).toBe('100 in 1')
  await replay(at(0))
  expect(await used()).toBe('3 in 1')
})

test('it counts also in shards whose rollup reaches beyond it, before and after the next rebuild', async () => {
  const [a, b, c] = [0, 1, 2].map((ms) => v7({ msecs: NOVEMBER_20 + ms })) as [string, string, string]
  await keep(recordAt(0, event(a, 1)))
  await keep(recordAt(1, event(b, 10)))
  await insertRecords(metering.store, log, [recordAt(2, event(c, 100))])
  expect(await rebuild()).toBe(1)
  expect([await rebuild(), await used()]).toEqual([0, '100 in 1'])
  await replay(at(1))
  expect(await used()).toBe('110 in 2')
  expect([await rebuild(), await used()]).toEqual([1, '110 in 2'])
  await replay(at(0))
  expect(await used()).toBe('111 in 3')
  expect([await rebuild(), await rebuild(), await used()]).toEqual([1, 0, '111 in 3'])
})

test('what still cannot be read stays, whole, with the new reason; the others of the request are replayed', async () => {
  const broken = { ...recordAt(1), batch: Buffer.from('?!') }
  await keep(recordAt(0, event('a', 1)))
  await keep(broken)
  await keep(recordAt(2, event('b', 2)))
  const { body } = await replay({ all: true })
  const records = (body.records as Json[]).filter((record) => record.log === log)
  expect(records).toEqual([
    { ...at(0), outcome: 'replayed', events: 1 },
    { ...at(1), outcome: 'unreadable', reason: expect.stringContaining('no batch of events') },
    { ...at(2), outcome: 'replayed', events: 1 },
  ])
  expect(await used()).toBe('3 in 2')
  expect(await waiting()).toEqual([
    {
      ...{ log, partition: 0, offset: '1', known_at: '2026-11-20T12:00:00.001Z' },
      reason: expect.stringContaining('no batch of events'),
      bytes_base64: Buffer.from('?!').toString('base64'),
    },
  ])
  expect(await replay(at(1))).toMatchObject({ status: 200, body: { replayed: 0, unreadable: 1 } })
})

test('all means all, however many', async () => {
  for (let offset = 0; offset < 45; offset++) await keep(recordAt(offset, event(`e${offset}`, 1)))
  const { body } = await replay({ all: true })
  expect((body.records as Json[]).filter((record) => record.log === log)).toHaveLength(45)
  expect(await used()).toBe('45 in 45')
  expect(await waiting()).toEqual([])
})

describe('who may', () => {
  test('records of unknown tenants are replayed by operators only (EPIC-5)', async () => {
    await keep(recordAt(0, event('a', 1)))
    expect((await replay(at(0), tenant)).status).toBe(404)
    expect(await replay({ all: true }, tenant)).toMatchObject({ status: 200, body: { replayed: 0, waiting: 0 } })
    const reader = await metering.tenant(`r-${made}`, ['billing:dead-letters:read'], true)
    expect((await replay(at(0), reader)).status).toBe(403)
    expect(await waiting()).toHaveLength(1)
    await replay(at(0))
  })

  test.each([
    ['nothing', {}],
    ['a part of a place', { log: 'x', partition: 0 }],
    ['all and a place', { all: true, log: 'x', partition: 0, offset: 0 }],
    ['a place before the log', { log: 'x', partition: 0, offset: -1 }],
  ])('%s is refused', async (_name, body) => {
    expect((await replay(body)).status).toBe(400)
  })
})
