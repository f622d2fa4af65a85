import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { decodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import type { UsageEvent } from '../../../schemas/event/usage-event.ts'
import {
  type Answer,
  cloudEvent,
  type Json,
  LLM_SCHEMA,
  type Metering,
  openMetering,
  type Tenant,
} from '../../support/metering.ts'
import { askPostgresAt, eventually } from '../../support/product.ts'

let metering: Metering
let tenant: Tenant
let made = 0
/** How the log behaves in a test: what is awaited before each append. */
let beforeAppend = async (_events: readonly UsageEvent[]): Promise<void> => undefined
let afterAppend = beforeAppend

beforeAll(async () => {
  metering = await openMetering((writer) => ({
    ...writer,
    append: async (records) => {
      const events = records.flatMap(({ record }) => decodeBatch(record))
      await beforeAppend(events)
      await writer.append(records)
      await afterAppend(events)
    },
  }))
})
afterAll(() => metering.close())
beforeEach(async () => {
  beforeAppend = async () => undefined
  afterAppend = beforeAppend
  tenant = await metering.tenant(`b-${made++}`)
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
})

const OPEN = { name: 'march', source: 'backfill:march' }
const OLD = { time: '2021-03-01T00:00:00Z', source: undefined }
const old = (id: string, tokens = 1) => cloudEvent(id, { tokens }, OLD)
const append = (id: string, events: readonly Json[]) => tenant.call('POST', `/backfills/${id}/events`, events)
const read = async (id: string) => (await tenant.call('GET', `/backfills/${id}`)).body
const idOf = ({ body }: Answer) => String(body.id)

async function opened(body: object = OPEN): Promise<string> {
  return idOf(await tenant.call('POST', '/backfills', body))
}

/** What the log holds of this test's tenant. */
async function logged(): Promise<UsageEvent[]> {
  const rows = await metering.log.reader.read([0, 0, 0], 1e9)
  return rows.flatMap(({ batch }) => decodeBatch(batch)).filter((event) => event.tenant === tenant.id)
}
const voidsIn = (events: readonly UsageEvent[]) => events.filter(({ type }) => type === 'tallyline.void')
const keys = (events: readonly UsageEvent[]) => events.map(({ source, id }) => `${source}/${id}`).sort()
const reverted = (id: string) =>
  eventually(
    () => read(id),
    ({ state }) => state === 'reverted',
  )

describe('a backfill', () => {
  test('owns a source; opened again with the same name it is the same one', async () => {
    const first = await tenant.call('POST', '/backfills', OPEN)
    expect(first).toMatchObject({
      status: 201,
      body: { ...OPEN, state: 'open', closed_at: null, counts: { accepted: 0, voided: 0 } },
    })
    expect(await tenant.call('POST', '/backfills', OPEN)).toMatchObject({ status: 200, body: { id: first.body.id } })
    expect(await tenant.call('POST', '/backfills', { ...OPEN, name: 'april' })).toMatchObject({
      status: 409,
      body: { code: 'conflict' },
    })
  })

  test.each(['march', 'backfill:', `backfill:${'é'.repeat(124)}`])('cannot own the source %s', async (source) => {
    expect(await tenant.call('POST', '/backfills', { name: 'march', source })).toMatchObject({
      status: 400,
      body: { code: 'invalid_request', errors: [{ path: 'source' }] },
    })
  })

  test('is listed page by page in the order of opening', async () => {
    const ids: string[] = []
    for (const name of ['a', 'b', 'c']) ids.push(await opened({ name, source: `backfill:${name}` }))
    const first = (await tenant.call('GET', '/backfills?limit=2')).body as { backfills: Json[]; next: string }
    expect(first.backfills.map(({ id }) => id)).toEqual(ids.slice(0, 2))
    const second = await tenant.call('GET', `/backfills?limit=2&after=${first.next}`)
    expect(second.body).toMatchObject({ backfills: [{ id: ids[2], name: 'c' }], next: null })
  })

  test('is its tenant’s alone (design.md §4.7)', async () => {
    const id = await opened()
    await append(id, [old('a')])
    const mine = tenant
    tenant = await metering.tenant(`b-${made++}`)
    expect((await tenant.call('GET', '/backfills')).body).toEqual({ backfills: [], next: null })
    for (const answer of [
      await tenant.call('GET', `/backfills/${id}`),
      await append(id, [old('b')]),
      await tenant.call('POST', `/backfills/${id}/close`),
      await tenant.call('POST', `/backfills/${id}/revert`),
    ]) {
      expect(answer).toMatchObject({ status: 404, body: { code: 'not_found' } })
    }
    expect(await tenant.call('POST', '/backfills', OPEN)).toMatchObject({ status: 201 })
    tenant = mine
    expect(await read(id)).toMatchObject({ state: 'open', counts: { accepted: 1 } })
  })

  test('needs the permission, and an id that is one', async () => {
    const id = await opened()
    expect(await tenant.call('GET', '/backfills/march')).toMatchObject({ status: 404 })
    tenant = await metering.tenant(`b-${made++}`, ['billing:usage:create', 'billing:usage:read'])
    expect(await tenant.call('POST', '/backfills', OPEN)).toMatchObject({ status: 403 })
    expect(await append(id, [old('a')])).toMatchObject({ status: 403 })
    expect(await tenant.call('POST', `/backfills/${id}/revert`)).toMatchObject({ status: 403 })
  })
})

describe('appending', () => {
  test('takes old events, under the source of the backfill, with an outcome for each', async () => {
    const id = await opened()
    const answer = await append(id, [old('a'), old('a'), cloudEvent('b', { tokens: 'x' }, OLD)])
    expect(answer).toMatchObject({
      status: 202,
      body: { accepted: 1, duplicate: 1, rejected: 1, outcomes: [{ index: 0, id: 'a' }, {}, { path: 'data.tokens' }] },
    })
    expect(keys(await logged())).toEqual(['backfill:march/a'])
    await metering.settled()
    expect(await read(id)).toMatchObject({ events: 1, counts: { accepted: 1, duplicate: 1, rejected: 1 } })
  })

  test('refuses a request of which an event has a source of its own, or nothing is accepted', async () => {
    const id = await opened()
    expect(await append(id, [old('a'), cloudEvent('b')])).toMatchObject({
      status: 400,
      body: { code: 'invalid_request', errors: [{ path: '1.source' }] },
    })
    expect(await append(id, [cloudEvent('b', {}, OLD)])).toMatchObject({
      status: 400,
      body: { code: 'events_refused', outcomes: [{ code: 'missing_field' }] },
    })
    expect(await logged()).toEqual([])
  })

  test('is not refused by a quota: what is imported has been used', async () => {
    await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
    await tenant.call('PUT', '/quota/customer-1/tokens', { limit: '10', window: 'day' })
    const answer = await append(await opened(), [old('a', 11)])
    expect(answer).toMatchObject({ status: 202, body: { outcomes: [{ outcome: 'accepted', over_quota: true }] } })
  })

  test('asks for all again when the log is away', async () => {
    const id = await opened()
    beforeAppend = async () => Promise.reject(new Error('no log'))
    expect(await append(id, [old('a')])).toMatchObject({
      status: 503,
      headers: { 'retry-after': '1' },
      body: { code: 'unavailable', retryable: true, outcomes: [{ outcome: 'failed' }] },
    })
    beforeAppend = async () => undefined
    expect(await append(id, [old('a')])).toMatchObject({ status: 202 })
  })

  test('ends with the close, which can be repeated', async () => {
    const id = await opened()
    const closed = await tenant.call('POST', `/backfills/${id}/close`)
    expect(closed).toMatchObject({ status: 202, body: { state: 'closed' } })
    metering.clock.nowMs += 1_000
    expect((await tenant.call('POST', `/backfills/${id}/close`)).body).toEqual(closed.body)
    expect(await append(id, [old('a')])).toMatchObject({ status: 409, body: { code: 'illegal_state' } })
    expect(await tenant.call('POST', '/backfills', OPEN)).toMatchObject({ status: 200, body: { state: 'closed' } })
    expect(await logged()).toEqual([])
  })
})

describe('a revert', () => {
  test('voids each event under the source once, and no other', async () => {
    const id = await opened()
    const other = await opened({ name: 'april', source: 'backfill:april' })
    await append(id, [old('a'), old('b')])
    await append(id, [old('a', 2), old('c')])
    await append(other, [old('a')])
    await tenant.send(JSON.stringify(cloudEvent('a')))
    expect(await tenant.call('POST', `/backfills/${id}/revert`)).toMatchObject({
      status: 202,
      body: { state: 'reverting', reverted_at: null },
    })
    expect(await reverted(id)).toMatchObject({ events: 3, counts: { voided: 3 } })
    const voids = voidsIn(await logged())
    expect(keys(voids)).toEqual(['a', 'b', 'c'].map((one) => `backfill:march/${one}`))
    for (const one of voids) {
      expect(one).toMatchObject({ subject: '', timeGiven: true, timeMs: metering.clock.nowMs })
      expect(JSON.parse(one.data)).toMatchObject({ operation: `revert-${id}`, reason: 'Backfill march was reverted' })
    }
    expect(await append(id, [old('d')])).toMatchObject({ status: 409, body: { code: 'illegal_state' } })
    expect(await tenant.call('POST', `/backfills/${id}/close`)).toMatchObject({ status: 409 })
  })

  test('waits for what is being appended, so that nothing comes after it', async () => {
    const id = await opened()
    const { promise: released, resolve: release } = gate()
    const { promise: appending, resolve: reached } = gate()
    beforeAppend = async (events) => {
      if (!events.some((event) => event.id === 'slow')) return
      reached()
      await released
    }
    const slow = append(id, [old('slow')])
    await appending
    const revert = tenant.call('POST', `/backfills/${id}/revert`)
    const first = await Promise.race([revert.then(() => 'revert'), slow.then(() => 'append'), lockAwaited()])
    expect(first).toBe('the revert waits')
    release()
    expect((await slow).status).toBe(202)
    expect((await revert).status).toBe(202)
    await reverted(id)
    expect(keys(voidsIn(await logged()))).toEqual(['backfill:march/slow'])
  })

  test('goes on after the page at which it stopped; a page that is repeated is the same operation', async () => {
    const id = await opened()
    const ids = Array.from({ length: 6_000 }, (_, n) => `row-${n}`)
    expect(
      (
        await append(
          id,
          ids.map((one) => old(one)),
        )
      ).status,
    ).toBe(202)
    let pages = 0
    afterAppend = async (events) => {
      // The acknowledgement of the second page is lost.
      if (voidsIn(events).length === 0 || ++pages < 2) return
      afterAppend = async () => undefined
      throw new Error('no acknowledgement')
    }
    await tenant.call('POST', `/backfills/${id}/revert`)
    await eventually(
      async () => pages,
      (seen) => seen === 2,
    )
    const noted = await eventually(
      () => read(id),
      ({ counts }) => (counts as Json).voided === 2_000,
    )
    expect(noted).toMatchObject({ state: 'reverting', counts: { voided: 2_000 } })
    metering.clock.nowMs += 60_000
    // As every few seconds by itself.
    await metering.ingest.start()
    expect(await reverted(id)).toMatchObject({ counts: { voided: 6_000 } })
    const voids = voidsIn(await logged())
    expect(new Set(keys(voids)).size).toBe(6_000)
    expect(voids).toHaveLength(8_000)
    expect(new Set(voids.map(({ timeMs, data }) => `${timeMs} ${data}`)).size).toBe(1)
  })

  test('asked for again is the same operation, and voids what has come to light since', async () => {
    const id = await opened()
    await append(id, [old('a')])
    await tenant.call('POST', `/backfills/${id}/revert`)
    await reverted(id)
    metering.clock.nowMs += 60_000
    expect(await tenant.call('POST', `/backfills/${id}/revert`)).toMatchObject({ body: { state: 'reverting' } })
    await reverted(id)
    const voids = voidsIn(await logged())
    expect(voids).toHaveLength(2)
    expect(voids[1]).toEqual(voids[0])
  })
})

/** Resolves when a statement waits for a row that others hold; only whoever owns the server sees it. */
async function lockAwaited(): Promise<string> {
  const waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'"
  await eventually(
    () => askPostgresAt(metering.database.ownerUrl, waiting),
    (rows) => rows.length > 0,
  )
  return 'the revert waits'
}

function gate(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
