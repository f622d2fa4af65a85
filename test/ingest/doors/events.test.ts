import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { decodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import {
  type Answer,
  cloudEvent,
  LLM_SCHEMA,
  type Metering,
  openMetering,
  type Tenant,
} from '../../support/metering.ts'

const LINES = 'application/x-ndjson'
let metering: Metering
let tenant: Tenant
let made = 0
let logAway = false

beforeAll(async () => {
  metering = await openMetering((writer) => ({
    ...writer,
    append: async (records) => {
      if (logAway) throw new Error('no log')
      return writer.append(records)
    },
  }))
})
afterAll(() => metering.close())
beforeEach(async () => {
  logAway = false
  tenant = await metering.tenant(`t-${made++}`)
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
})

const send = (body: unknown, headers?: Record<string, string>) => tenant.send(JSON.stringify(body), headers)
const kinds = ({ body }: Answer) => (body.outcomes as { outcome: string }[]).map(({ outcome }) => outcome)

/** What the log holds of this test's tenant. */
async function logged(): Promise<string[]> {
  const rows = await metering.log.reader.read([0, 0, 0], 1e9)
  const events = rows.flatMap(({ batch }) => decodeBatch(batch)).filter((event) => event.tenant === tenant.id)
  return events.map(({ id }) => id).sort()
}

describe('202: the log has it', () => {
  test('one event, with its outcome', async () => {
    const answer = await send(cloudEvent('a'))
    expect(answer).toMatchObject({
      status: 202,
      body: {
        ...{ accepted: 1, duplicate: 0, rejected: 0, quota_exceeded: 0, failed: 0 },
        outcomes: [{ index: 0, id: 'a', outcome: 'accepted' }],
      },
    })
    expect(await logged()).toEqual(['a'])
  })

  test('an array, as a list or a batch; some may be refused', async () => {
    const events = [cloudEvent('a'), cloudEvent('b', { tokens: 'x' }), cloudEvent('a')]
    const answer = await send(events)
    expect(answer.status).toBe(202)
    expect(kinds(answer)).toEqual(['accepted', 'rejected', 'duplicate'])
    expect(answer.body).toMatchObject({
      ...{ accepted: 1, duplicate: 1, rejected: 1 },
      outcomes: [{}, { index: 1, id: 'b', code: 'invalid_value', path: 'data.tokens' }, { index: 2 }],
    })
    const batch = await send([cloudEvent('c')], { 'content-type': 'application/cloudevents-batch+json' })
    expect(batch.status).toBe(202)
    expect(await logged()).toEqual(['a', 'c'])
  })

  test('NDJSON, gzip, both', async () => {
    const lines = (...ids: string[]) => ids.map((id) => JSON.stringify(cloudEvent(id))).join('\n')
    const gzip = { 'content-encoding': 'gzip' }
    expect((await tenant.send(lines('a', 'b'), { 'content-type': LINES })).status).toBe(202)
    expect((await tenant.send(gzipSync(JSON.stringify(cloudEvent('c'))), gzip)).status).toBe(202)
    expect((await tenant.send(gzipSync(lines('d', 'e')), { ...gzip, 'content-type': LINES })).status).toBe(202)
    expect(await logged()).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  test('five thousand events in one request', async () => {
    const answer = await send(Array.from({ length: 5_000 }, (_, n) => cloudEvent(`row-${n}`)))
    expect(answer).toMatchObject({ status: 202, body: { accepted: 5_000 } })
    expect(await logged()).toHaveLength(5_000)
  })

  test('an event of a type registered a moment ago', async () => {
    await send(cloudEvent('a'))
    const other = { ...LLM_SCHEMA, name: 'Other' }
    await tenant.call('PUT', '/event-types/other', { schema: other })
    expect((await send(cloudEvent('b', { tokens: 1 }, { type: 'other' }))).status).toBe(202)
  })
})

describe('no event accepted', () => {
  test('400 with the outcomes when all are refused', async () => {
    const answer = await send([cloudEvent('a', {}), cloudEvent('b', { tokens: 1 }, { type: 'x' })])
    expect(answer).toMatchObject({
      status: 400,
      headers: { 'content-type': 'application/problem+json' },
      body: { code: 'events_refused', status: 400, retryable: false, accepted: 0, rejected: 2, duplicate: 0 },
    })
    expect(answer.body.outcomes).toMatchObject([
      { index: 0, id: 'a', code: 'missing_field', path: 'data.tokens' },
      { index: 1, id: 'b', code: 'unknown_type', path: 'type' },
    ])
    expect(await logged()).toEqual([])
  })

  test('429 with what remains when the quota refused any', async () => {
    await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
    await tenant.call('PUT', '/quota/customer-1/tokens', { limit: '10', window: 'day' })
    const answer = await send([cloudEvent('a', { tokens: 11 }), cloudEvent('b', {})])
    expect(answer).toMatchObject({
      status: 429,
      body: { code: 'quota_exceeded', retryable: false, accepted: 0, quota_exceeded: 1, rejected: 1 },
    })
    expect(answer.body.outcomes).toMatchObject([{ outcome: 'quota_exceeded', quota_remaining: '10' }, {}])
    const some = await send([cloudEvent('a', { tokens: 11 }), cloudEvent('c', { tokens: 4 })])
    expect(some).toMatchObject({ status: 202, body: { accepted: 1, quota_exceeded: 1 } })
    expect(some.body.outcomes).toMatchObject([{ quota_remaining: '10' }, { quota_remaining: '6' }])
  })

  test('503 when the log is away: every event failed, and sending all again is safe', async () => {
    logAway = true
    const answer = await send([cloudEvent('a'), cloudEvent('b')])
    expect(answer).toMatchObject({
      status: 503,
      headers: { 'retry-after': '1', 'content-type': 'application/problem+json' },
      body: { code: 'unavailable', retryable: true, failed: 2, accepted: 0 },
    })
    expect(kinds(answer)).toEqual(['failed', 'failed'])
    logAway = false
    expect(await send([cloudEvent('a'), cloudEvent('b')])).toMatchObject({ status: 202, body: { accepted: 2 } })
    expect(await logged()).toEqual(['a', 'b'])
  })

  /** billing-cases.md: systems that mark an event as seen before it is durable take the retry for a copy, and lose it. */
  test('C7: the append fails after the dedupe mark was set, and the client’s retry is counted, once', async () => {
    await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
    // A limit is what makes the edge set a mark before it appends.
    await tenant.call('PUT', '/quota/customer-1/tokens', { limit: '10', window: 'month' })
    const event = cloudEvent('c7', { tokens: 4 })
    logAway = true
    expect(await send([event])).toMatchObject({ status: 503, body: { retryable: true, failed: 1 } })
    logAway = false
    const retry = await send([event])
    expect(retry).toMatchObject({ status: 202, body: { accepted: 1 } })
    expect(retry.body.outcomes).toMatchObject([{ outcome: 'accepted', quota_remaining: '6' }])
    await send([event])
    await metering.settled()
    const month = 'from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z'
    expect((await tenant.call('GET', `/usage?meter=tokens&${month}`)).body.total).toEqual({ quantity: '4', events: 1 })
    expect((await send([cloudEvent('next', { tokens: 6 })])).body.outcomes).toMatchObject([{ quota_remaining: '0' }])
  })
})

describe('the whole request', () => {
  test('401 without a key, 403 without the permission, before the body is looked at', async () => {
    const anonymous = await tenant.send('{', { authorization: '' })
    expect(anonymous).toMatchObject({ status: 401, body: { code: 'unauthenticated' } })
    const reader = await metering.tenant(`t-${made++}`, ['billing:usage:read', 'billing:usage:backfill'])
    expect(await reader.send('{')).toMatchObject({ status: 403, body: { code: 'forbidden' } })
  })

  test('413, 415 and 400 are problem documents', async () => {
    expect(await tenant.send(Buffer.alloc(10_485_761, 0x20))).toMatchObject({
      status: 413,
      body: { code: 'body_too_large' },
    })
    expect(await send(Array(10_001).fill(0))).toMatchObject({ status: 413, body: { code: 'body_too_large' } })
    expect(await tenant.send('x', { 'content-type': 'text/plain' })).toMatchObject({
      status: 415,
      body: { code: 'unsupported_media_type' },
    })
    expect(await tenant.send('{}', { 'content-encoding': 'br' })).toMatchObject({ status: 415 })
    for (const body of ['', '[]', 'null', '5']) expect(await tenant.send(body)).toMatchObject({ status: 400 })
  })

  test('the tenant is that of the key, whatever the body says; another tenant’s types are unknown (EPIC-5)', async () => {
    const other = await metering.tenant(`t-${made++}`)
    const answer = await other.send(JSON.stringify({ ...cloudEvent('a'), tenant: tenant.id, tenant_id: tenant.id }))
    expect(answer).toMatchObject({ status: 400, body: { outcomes: [{ code: 'unknown_type' }] } })
    expect(await logged()).toEqual([])
  })

  test('old events need the backfill permission', async () => {
    const old = cloudEvent('a', { tokens: 1 }, { time: '2025-01-01T00:00:00Z' })
    const emitter = await metering.tenant(`t-${made++}`, ['billing:usage:create', 'billing:event-types:create'])
    await emitter.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
    expect(await emitter.send(JSON.stringify(old))).toMatchObject({
      status: 400,
      body: { outcomes: [{ code: 'event_too_old', path: 'time' }] },
    })
    expect((await send(old)).status).toBe(202)
  })
})

describe('metrics', () => {
  test('count every event by its outcome', async () => {
    await send([cloudEvent('a'), cloudEvent('a'), cloudEvent('b', {})])
    const { body } = await metering.app.inject({ method: 'GET', url: '/metrics' })
    const slug = `t-${made - 1}`
    for (const outcome of ['accepted', 'duplicate', 'rejected'])
      expect(body).toContain(`billing_usage_total{tenant="${slug}",outcome="${outcome}"} 1`)
  })
})
