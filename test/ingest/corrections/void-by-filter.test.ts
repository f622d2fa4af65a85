import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { MOST_FOUND } from '../../../ingest/corrections/void-by-filter.ts'
import { cloudEvent, type Json, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

let metering: Metering
let tenant: Tenant
let made = 0
let appendsLeft = Number.POSITIVE_INFINITY

beforeAll(async () => {
  metering = await openMetering((writer) => ({
    ...writer,
    append: async (records) => {
      if (appendsLeft-- <= 0) throw new Error('the log is away')
      await writer.append(records)
    },
  }))
})
afterAll(() => metering.close())
beforeEach(async () => {
  appendsLeft = Number.POSITIVE_INFINITY
  tenant = await metering.tenant(`t-${made++}`)
  for (const type of ['llm.request', 'other']) await tenant.call('PUT', `/event-types/${type}`, { schema: LLM_SCHEMA })
})

const at = (minute: number) => ({ time: `2026-11-19T11:${String(minute).padStart(2, '0')}:00Z` })
const filter = { from: '2026-11-19T11:00:00Z', to: '2026-11-19T12:00:00Z' }
const send = async (...events: Json[]) => {
  metering.clock.nowMs += 1_000
  expect((await tenant.send(JSON.stringify(events))).status).toBe(202)
}
const voidBy = async (change: Json) => {
  metering.clock.nowMs += 1_000
  return tenant.call('POST', '/events/void', { filter, reason: 'a test', ...change })
}
const dryRun = async (change: Json = {}) => (await voidBy({ filter: { ...filter, ...change }, dry_run: true })).body
const state = async (id: string) => {
  await metering.settled()
  return (await tenant.call('GET', `/events?source=test&id=${id}`)).body.state
}

describe('a dry run', () => {
  test('counts what the filter means and shows the first ten by time; nothing is voided', async () => {
    await send(...Array.from({ length: 12 }, (_, n) => cloudEvent(`e${n}`, { tokens: n }, at(20 - n))))
    const { count, sample } = await dryRun()
    expect(count).toBe(12)
    expect((sample as Json[]).map(({ id }) => id)).toEqual([11, 10, 9, 8, 7, 6, 5, 4, 3, 2].map((n) => `e${n}`))
    expect((sample as Json[])[0]).toEqual({
      ...{ source: 'test', id: 'e11', type: 'llm.request', subject: 'customer-1', time: '2026-11-19T11:09:00.000Z' },
      data: '{"tokens":11,"model":"small","cost":null}',
      known_at: expect.stringMatching(/^2026-11-20T.*Z$/),
    })
    expect(await dryRun()).toMatchObject({ count: 12 })
  })

  test('tells events apart by type, subject, source and time, each as it counts now', async () => {
    await send(
      cloudEvent('a', { tokens: 1 }, at(0)),
      cloudEvent('b', { tokens: 1 }, { ...at(59), subject: 'other' }),
      cloudEvent('c', { tokens: 1 }, { ...at(1), source: 'elsewhere' }),
      cloudEvent('d', { tokens: 1 }, { ...at(1), type: 'other' }),
      cloudEvent('e', { tokens: 1 }, { time: '2026-11-19T12:00:00Z' }),
    )
    expect(await dryRun()).toMatchObject({ count: 4 })
    expect(await dryRun({ subject: 'other' })).toMatchObject({ count: 1, sample: [{ id: 'b' }] })
    expect(await dryRun({ source: 'elsewhere' })).toMatchObject({ count: 1, sample: [{ id: 'c' }] })
    expect(await dryRun({ type: 'other', subject: 'customer-1' })).toMatchObject({ count: 1, sample: [{ id: 'd' }] })
    const event = { type: 'other', subject: 'moved', time: '2026-11-19T11:30:00Z', data: { tokens: 2 } }
    await tenant.call('POST', '/events/replace', { source: 'test', id: 'e', reason: 'x', event })
    await tenant.call('POST', '/events/void', { source: 'test', id: 'a', reason: 'x' })
    expect(await dryRun()).toMatchObject({ count: 4 })
    expect(await dryRun({ subject: 'moved' })).toMatchObject({ count: 1, sample: [{ id: 'e', type: 'other' }] })
    expect(await dryRun({ from: '2026-11-19T12:00:00Z', to: '2026-11-19T13:00:00Z' })).toMatchObject({ count: 0 })
  })

  test('does not see another tenant’s events (EPIC-5)', async () => {
    await send(cloudEvent('a', { tokens: 1 }, at(0)))
    tenant = await metering.tenant(`t-${made++}`)
    expect(await dryRun()).toEqual({ count: 0, sample: [] })
  })
})

describe('a void by filter', () => {
  beforeEach(() => send(cloudEvent('a', { tokens: 1 }, at(0)), cloudEvent('b', { tokens: 1 }, at(1))))

  test('voids exactly the events it found', async () => {
    expect(await voidBy({ expected_count: 2, operation_id: 'op' })).toMatchObject({
      status: 202,
      body: { operation_id: 'op', accepted: 2 },
    })
    expect([await state('a'), await state('b')]).toEqual(['voided', 'voided'])
    expect(await dryRun()).toEqual({ count: 0, sample: [] })
    await send(cloudEvent('c', { tokens: 1 }, at(2)))
    expect(await state('c')).toBe('counts')
  })

  test('that quotes another count voids nothing and tells the present one', async () => {
    expect(await voidBy({ expected_count: 3 })).toMatchObject({ status: 409, body: { code: 'conflict', count: 2 } })
    expect(await state('a')).toBe('counts')
    await send(cloudEvent('c', { tokens: 1 }, at(2)))
    expect(await voidBy({ expected_count: 2 })).toMatchObject({ status: 409, body: { count: 3 } })
    expect(await state('a')).toBe('counts')
  })

  test('repeated with its operation id is the same: what came meanwhile stays', async () => {
    await voidBy({ expected_count: 2, operation_id: 'op' })
    await send(cloudEvent('c', { tokens: 1 }, at(2)))
    expect(await voidBy({ expected_count: 2, operation_id: 'op' })).toMatchObject({
      status: 202,
      body: { operation_id: 'op', accepted: 2 },
    })
    expect([await state('a'), await state('c')]).toEqual(['voided', 'counts'])
    const { body } = await tenant.call('GET', '/events?source=test&id=a')
    expect(body.operations).toHaveLength(1)
  })

  test('whose operation id belongs to another filter is refused', async () => {
    await voidBy({ expected_count: 2, operation_id: 'op' })
    const other = { ...filter, subject: 'customer-1' }
    expect((await voidBy({ filter: other, expected_count: 2, operation_id: 'op' })).status).toBe(409)
  })

  test('that the log did not take is sent again with the operation id of the answer, and is whole then', async () => {
    appendsLeft = 0
    const { status, body } = await voidBy({ expected_count: 2 })
    expect(status).toBe(503)
    appendsLeft = Number.POSITIVE_INFINITY
    expect(await state('a')).toBe('counts')
    const again = await voidBy({ expected_count: 2, operation_id: body.operation_id })
    expect(again).toMatchObject({ status: 202, body: { accepted: 2 } })
    expect([await state('a'), await state('b')]).toEqual(['voided', 'voided'])
  })

  /** ops/decisions/0011: with this process's clock as the bound, the newest events were left out. */
  test('means all that was accepted, though the clock of this process is behind the log’s', async () => {
    metering.clock.nowMs -= 30_000
    expect(await dryRun()).toMatchObject({ count: 2 })
    expect(await voidBy({ expected_count: 2 })).toMatchObject({ status: 202, body: { accepted: 2 } })
    expect([await state('a'), await state('b')]).toEqual(['voided', 'voided'])
  })

  /** With this process's clock ahead of the log's, what came afterwards seemed to be there before: 409 for ever. */
  test('that stopped half-way is whole when repeated, though the log stamps later events with earlier times', async () => {
    appendsLeft = 0
    const { status, body } = await voidBy({ expected_count: 2 })
    expect(status).toBe(503)
    appendsLeft = Number.POSITIVE_INFINITY
    metering.clock.nowMs -= 1_500
    // Two, of which the first is stamped as the newest before the void was, to the millisecond.
    for (const id of ['c', 'd']) {
      await tenant.send(JSON.stringify(cloudEvent(id, { tokens: 1 }, at(2))))
      metering.clock.nowMs += 1_000
    }
    const again = await voidBy({ expected_count: 2, operation_id: body.operation_id })
    expect(again).toMatchObject({ status: 202, body: { accepted: 2 } })
    const states = [await state('a'), await state('b'), await state('c'), await state('d')]
    expect(states).toEqual(['voided', 'voided', 'counts', 'counts'])
  })

  test.each([
    ['without the count of a dry run', {}],
    ['without a reason', { expected_count: 2, reason: undefined }],
    ['beside an id', { expected_count: 2, source: 'test', id: 'a' }],
    ['whose end is not after its start', { filter: { from: filter.to, to: filter.from }, dry_run: true }],
    ['of a time that is none', { filter: { ...filter, to: 'tomorrow' }, dry_run: true }],
  ])('%s is refused', async (_how, change) => {
    expect((await voidBy(change)).status).toBe(400)
  })
})

test('more events than one operation voids are refused before any is', async () => {
  const { store } = metering
  // As if another log had brought them, before this one.
  await store.command(
    `INSERT INTO events SELECT {tenant:UInt32}, 281474976710656, 'test', toString(number), 1, 'llm.request', 's',
       toDateTime64('2026-11-19 11:00:00', 3, 'UTC'), true, '{}', toDateTime64('2026-11-20 00:00:00', 3, 'UTC'), 1
     FROM numbers({most:UInt32} + 1)`,
    { tenant: tenant.id, most: MOST_FOUND },
  )
  await store.command(
    `INSERT INTO ingest_ranges SELECT 'an earlier log', 0, 0, 1, {most:UInt32} + 1, 0,
       toDateTime64('2026-11-20 00:00:00', 3, 'UTC')`,
    { most: MOST_FOUND },
  )
  expect(await dryRun()).toMatchObject({ count: MOST_FOUND + 1 })
  expect(await voidBy({ expected_count: MOST_FOUND + 1 })).toMatchObject({
    status: 400,
    body: { errors: [{ path: 'filter' }] },
  })
})
