import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { EventHistory } from '../../../ingest/corrections/history.ts'
import { cloudEvent, type Json, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`t-${made++}`)
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
})

/** Each a request of its own, a second after the other. */
async function send(...events: Json[]): Promise<void> {
  for (const event of events) {
    metering.clock.nowMs += 1_000
    expect((await tenant.send(JSON.stringify(event))).status).toBe(202)
  }
}
async function correct(kind: 'void' | 'replace', body: Json) {
  metering.clock.nowMs += 1_000
  return tenant.call('POST', `/events/${kind}`, body)
}
async function history(id: string, by = tenant) {
  await metering.settled()
  const { status, body } = await by.call('GET', `/events?source=test&id=${id}`)
  return { status, ...(body as unknown as EventHistory) }
}
const target = (id: string, change: Json = {}) => ({ source: 'test', id, reason: 'a test', ...change })
const time = '2026-11-19T11:00:00Z'
const newEvent = (tokens: number, change: Json = {}) => {
  return { type: 'llm.request', subject: 'customer-2', time, data: { tokens }, ...change }
}

describe('POST /events/void', () => {
  test('an event counts as nothing from then on; who asked, why and when is kept', async () => {
    await send(cloudEvent('a', { tokens: 7 }))
    expect(await history('a')).toMatchObject({ state: 'counts', event: { subject: 'customer-1' }, operations: [] })
    const answer = await correct('void', target('a'))
    expect(answer).toMatchObject({
      status: 202,
      body: { operation_id: expect.any(String), accepted: 1, outcomes: [{ index: 0, id: 'a', outcome: 'accepted' }] },
    })
    expect(await history('a')).toEqual({
      status: 200,
      source: 'test',
      id: 'a',
      state: 'voided',
      copies: [
        {
          type: 'llm.request',
          subject: 'customer-1',
          data: '{"tokens":7,"model":"small","cost":null}',
          time: new Date(metering.clock.nowMs - 1_000).toISOString(),
          time_given: false,
          known_at: new Date(metering.clock.nowMs - 1_000).toISOString(),
        },
      ],
      operations: [
        {
          operation_id: answer.body.operation_id,
          kind: 'void',
          reason: 'a test',
          by: `t-${made - 1}`,
          known_at: new Date(metering.clock.nowMs).toISOString(),
        },
      ],
    })
  })

  test('asked for again with its operation id, in the body or as Idempotency-Key, it is the same operation', async () => {
    await send(cloudEvent('a'))
    for (let times = 0; times < 3; times++) {
      expect((await correct('void', target('a', { operation_id: 'op-1' }))).body).toMatchObject({
        operation_id: 'op-1',
      })
    }
    const headers = { authorization: `Bearer t-${made - 1}`, 'idempotency-key': 'op-1' }
    const again = await metering.app.inject({
      method: 'POST',
      url: '/api/v1/events/void',
      headers,
      payload: target('a'),
    })
    expect(again.statusCode).toBe(202)
    expect((await history('a')).operations.map((one) => one.operation_id)).toEqual(['op-1'])
    const contradicting = await metering.app.inject({
      method: 'POST',
      url: '/api/v1/events/void',
      headers,
      payload: target('a', { operation_id: 'op-2' }),
    })
    expect(contradicting.statusCode).toBe(400)
  })

  test('several in one request have one operation id and an outcome each', async () => {
    await send(cloudEvent('a'), cloudEvent('b'))
    const none = { reason: undefined }
    const events = [target('a'), target('b', none), target('b', none), target('b'), target(''), target('x\n')]
    const { status, body } = await correct('void', { events, reason: 'all of them' })
    expect(status).toBe(202)
    expect((body.outcomes as Json[]).map((one) => [one.outcome, one.code, one.path])).toEqual([
      ['accepted', undefined, undefined],
      ['accepted', undefined, undefined],
      ['duplicate', undefined, undefined],
      ['rejected', 'duplicate_target', 'id'],
      ['rejected', 'invalid_value', 'id'],
      ['rejected', 'invalid_value', 'id'],
    ])
    expect(await history('b')).toMatchObject({ state: 'voided', operations: [{ reason: 'all of them' }] })
  })

  test('one that arrives before its event waits, is listed, and holds the event back when it comes', async () => {
    await correct('void', target('late', { operation_id: 'early' }))
    await correct('void', target('late', { operation_id: 'early' }))
    await metering.settled()
    const waiting = async () => (await tenant.call('GET', '/events/waiting-voids')).body.waiting
    const known_at = new Date(metering.clock.nowMs - 1_000).toISOString()
    const said = { operation_id: 'early', kind: 'void', reason: 'a test', by: `t-${made - 1}`, known_at }
    expect(await waiting()).toEqual([{ source: 'test', id: 'late', ...said }])
    expect(await history('late')).toMatchObject({ state: 'waits', copies: [], operations: [said] })
    const other = await metering.tenant(`t-${made++}`)
    expect((await other.call('GET', '/events/waiting-voids')).body).toEqual({ waiting: [] })
    await send(cloudEvent('late'))
    expect(await history('late')).toMatchObject({ state: 'voided' })
    expect(await waiting()).toEqual([])
  })

  test('after 35 days one that still waits is listed no more', async () => {
    await correct('void', target('never'))
    await metering.settled()
    const before = metering.clock.nowMs
    try {
      metering.clock.nowMs += 35 * 86_400_000
      expect((await tenant.call('GET', '/events/waiting-voids')).body.waiting).toHaveLength(1)
      metering.clock.nowMs += 1
      expect((await tenant.call('GET', '/events/waiting-voids')).body.waiting).toEqual([])
    } finally {
      metering.clock.nowMs = before
    }
  })

  test.each([
    ['without a reason', { source: 'test', id: 'a' }],
    ['without an id', { source: 'test', reason: 'x' }],
    ['with events beside an id', target('a', { events: [target('b')] })],
    ['with no events', { events: [], reason: 'x' }],
    ['with 1,001 events', { events: Array.from({ length: 1_001 }, (_, n) => target(`e${n}`)) }],
    ['with an unknown member', target('a', { subject: 'x' })],
    ['none of which is accepted', target('')],
  ])('%s is refused', async (_how, body) => {
    expect((await correct('void', body)).status).toBe(400)
  })

  test('needs billing:usage:correct; another tenant’s events are out of reach (EPIC-5)', async () => {
    await send(cloudEvent('a'))
    const emitter = await metering.tenant(`t-${made++}`, ['billing:usage:create', 'billing:usage:read'])
    expect((await emitter.call('POST', '/events/void', target('a'))).status).toBe(403)
    const other = await metering.tenant(`t-${made++}`)
    expect((await other.call('POST', '/events/void', target('a'))).status).toBe(202)
    expect(await history('a')).toMatchObject({ state: 'counts', operations: [] })
    expect(await history('a', other)).toMatchObject({ state: 'waits', copies: [] })
    expect(await history('a', emitter)).toMatchObject({ status: 404 })
  })
})

describe('POST /events/replace', () => {
  test('the event counts as the new one, all of it; the operation known last wins', async () => {
    await send(cloudEvent('a', { tokens: 1 }))
    const first = await correct('replace', target('a', { event: newEvent(2) }))
    expect(first).toMatchObject({ status: 202, body: { accepted: 1 } })
    const event = { type: 'llm.request', subject: 'customer-2', time: '2026-11-19T11:00:00.000Z' }
    const data = (tokens: number) => `{"tokens":${tokens},"model":"small","cost":null}`
    expect(await history('a')).toMatchObject({ state: 'counts', event: { ...event, data: data(2) } })
    await correct('void', target('a'))
    expect(await history('a')).toMatchObject({ state: 'voided' })
    await correct('replace', target('a', { event: newEvent(3) }))
    expect(await history('a')).toMatchObject({
      state: 'counts',
      event: { data: data(3) },
      copies: [{ data: data(1) }],
      operations: [{ kind: 'replace', event: { data: data(2) } }, { kind: 'void' }, { kind: 'replace' }],
    })
  })

  test.each([
    ['of an unknown type', newEvent(1, { type: 'unheard.of' }), 'unknown_type', 'event.type'],
    ['of an operation’s type', newEvent(1, { type: 'tallyline.void' }), 'reserved_type', 'event.type'],
    ['that its schema refuses', newEvent(1, { data: { tokens: 'many' } }), expect.any(String), 'event.data.tokens'],
    ['that a meter cannot count', newEvent(-1), 'invalid_quantity', 'event.data.tokens'],
    ['6 minutes ahead', newEvent(1, { time: '2026-11-20T13:06:00Z' }), 'event_in_future', 'event.time'],
    ['8 years old', newEvent(1, { time: '2018-11-20T11:00:00Z' }), 'event_too_old', 'event.time'],
  ])('an event %s is rejected', async (_how, event, code, path) => {
    metering.clock.nowMs = Date.UTC(2026, 10, 20, 13)
    const { status, body } = await tenant.call('POST', '/events/replace', target('a', { event }))
    expect(status).toBe(400)
    expect(body).toMatchObject({ code: 'events_refused', rejected: 1, outcomes: [{ outcome: 'rejected', code, path }] })
  })

  test('by an event older than 35 days needs billing:usage:backfill', async () => {
    const event = newEvent(1, { time: '2026-09-01T00:00:00Z' })
    const poor = await metering.tenant(`t-${made++}`, ['billing:usage:correct', 'billing:event-types:create'])
    await poor.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
    expect((await poor.call('POST', '/events/replace', target('a', { event }))).body).toMatchObject({
      outcomes: [{ code: 'event_too_old' }],
    })
    expect((await correct('replace', target('a', { event }))).status).toBe(202)
  })

  test('without the new event it is rejected', async () => {
    expect((await correct('replace', target('a'))).body).toMatchObject({ outcomes: [{ code: 'missing_field' }] })
  })
})
