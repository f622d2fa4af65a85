import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import type { EventConflict } from '../../../aggregator/usage/lists.clickhouse.ts'
import { type EventChange, logRow, usageEvent } from '../../support/log-events.ts'
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

async function conflicts(by = tenant): Promise<EventConflict[]> {
  return (await by.call('GET', '/event-conflicts')).body.event_conflicts as EventConflict[]
}

async function used(): Promise<string> {
  const { body } = await tenant.call('GET', '/usage?meter=tokens&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z')
  const { quantity, events } = body.total as { quantity: string; events: number }
  return `${quantity} in ${events}`
}

/** Sent one after the other, as an emitter would, each an answered request. */
async function send(...events: Json[]): Promise<void> {
  for (const event of events) {
    metering.clock.nowMs += 1_000
    expect((await tenant.send(JSON.stringify(event))).status).toBe(202)
  }
  await metering.settled()
}

describe('the same event resent (C6)', () => {
  const given = (time: string, tokens = 1) => cloudEvent('a', { tokens }, { time })

  test('alike, without its time, or with its time again: it counts once and is no conflict', async () => {
    await send(given('2026-11-20T11:00:00Z'), given('2026-11-20T11:00:00Z'), cloudEvent('a'), cloudEvent('a'))
    expect(await used()).toBe('1 in 1')
    expect(await conflicts()).toEqual([])
  })

  test('first without a time, then with one: it counts once, at its arrival, and is no conflict', async () => {
    await send(cloudEvent('a'), given('2026-11-19T11:00:00Z'))
    expect(await used()).toBe('1 in 1')
    expect(await conflicts()).toEqual([])
  })

  test('with another time, where both copies came with one: it counts once and is listed', async () => {
    await send(given('2026-11-20T11:00:00Z'), given('2026-11-20T11:00:00.001Z'))
    expect(await used()).toBe('1 in 1')
    expect(await conflicts()).toMatchObject([
      {
        id: 'a',
        counted: { time: '2026-11-20T11:00:00.000Z' },
        latest: { time: '2026-11-20T11:00:00.001Z' },
        payloads: 2,
      },
    ])
  })

  test('with another month as time: it counts once, in the month of the first copy', async () => {
    await send(given('2026-11-01T11:00:00Z'), given('2026-10-31T11:00:00Z'))
    expect(await used()).toBe('1 in 1')
    const october = await tenant.call('GET', '/usage?meter=tokens&from=2026-10-01T00:00:00Z&to=2026-11-01T00:00:00Z')
    expect(october.body).toMatchObject({ total: { events: 0 } })
  })

  test.each([
    ['opaque', 'row-1'],
    ['a UUIDv7 of now', '019f4c1a-9c00-7000-8000-000000000001'],
    ['a ULID', '01KC0000000000000000000000'],
  ])('the same holds for an id that is %s', async (_kind, id) => {
    const event = (tokens: number, change: Json = {}) => cloudEvent(id, { tokens }, change)
    await send(event(1, { time: '2026-11-20T11:00:00Z' }), event(1), event(2, { time: '2026-11-02T11:00:00Z' }))
    expect(await used()).toBe('1 in 1')
    expect(await conflicts()).toMatchObject([
      { id, counted: { data: expect.stringContaining('"tokens":1') }, payloads: 3 },
    ])
  })
})

describe('GET /event-conflicts', () => {
  test('shows what counts and what came last, in full; the newest conflict first', async () => {
    await send(cloudEvent('a', { tokens: 1 }), cloudEvent('b', { tokens: 1 }))
    await send(cloudEvent('b', { tokens: 2 }), cloudEvent('a', { tokens: 3 }, { subject: 'other' }))
    const at = (ms: number) => new Date(metering.clock.nowMs + ms).toISOString()
    expect(await conflicts()).toEqual([
      {
        source: 'test',
        id: 'a',
        counted: {
          type: 'llm.request',
          subject: 'customer-1',
          time: at(-3_000),
          data: '{"tokens":1,"model":"small","cost":null}',
          known_at: at(-3_000),
        },
        latest: {
          type: 'llm.request',
          subject: 'other',
          time: at(0),
          data: '{"tokens":3,"model":"small","cost":null}',
          known_at: at(0),
        },
        payloads: 2,
      },
      expect.objectContaining({ id: 'b' }),
    ])
    expect(((await tenant.call('GET', '/event-conflicts?limit=1')).body.event_conflicts as unknown[]).length).toBe(1)
    for (const limit of ['0', '1001', 'x']) {
      expect((await tenant.call('GET', `/event-conflicts?limit=${limit}`)).status).toBe(400)
    }
  })

  test('of another type or subject is a conflict, too; of another source is another event', async () => {
    const other = { ...LLM_SCHEMA, name: 'Other' }
    await tenant.call('PUT', '/event-types/other', { schema: other })
    await send(cloudEvent('a'), cloudEvent('a', { tokens: 1 }, { source: 'elsewhere' }))
    await send(cloudEvent('b'), cloudEvent('b', { tokens: 1 }, { type: 'other' }))
    await send(cloudEvent('c'), cloudEvent('c', { tokens: 1 }, { subject: 'other' }))
    expect((await conflicts()).map(({ id }) => id).sort()).toEqual(['b', 'c'])
    expect(await used()).toBe('4 in 4')
  })

  test('within one request it is seen as well', async () => {
    const answer = await tenant.send(JSON.stringify([cloudEvent('a', { tokens: 1 }), cloudEvent('a', { tokens: 9 })]))
    expect(answer).toMatchObject({ status: 202, body: { accepted: 1, duplicate: 1 } })
    await metering.settled()
    expect(await used()).toBe('1 in 1')
    expect(await conflicts()).toMatchObject([{ id: 'a', latest: { data: expect.stringContaining('9') } }])
  })

  test('a payload that came again, and again after the other, is one payload: merges change nothing', async () => {
    const [first, other] = [cloudEvent('a', { tokens: 1 }), cloudEvent('a', { tokens: 2 })]
    await send(first, first, other, first, first)
    const before = await conflicts()
    expect(before).toMatchObject([
      {
        counted: { data: expect.stringContaining(':1,') },
        latest: { data: expect.stringContaining(':2,') },
        payloads: 2,
      },
    ])
    await metering.store.command('OPTIMIZE TABLE events FINAL')
    expect(await conflicts()).toEqual(before)
  })

  test('another tenant sees none of them (EPIC-5), and without the permission nobody does', async () => {
    await send(cloudEvent('a', { tokens: 1 }), cloudEvent('a', { tokens: 2 }))
    expect(await conflicts(await metering.tenant(`t-${made++}`))).toEqual([])
    const emitter = await metering.tenant(`t-${made++}`, ['billing:usage:read'])
    expect((await emitter.call('GET', '/event-conflicts')).status).toBe(403)
  })
})

test('whatever copies come, in whatever pieces: each identity counts once, by its first copy (invariant 1)', async () => {
  const copy = fc.record({ id: fc.constantFrom('a', 'b', 'c'), tokens: fc.nat(3), timeGiven: fc.boolean() })
  let offset = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(copy, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 }),
      async (records) => {
        const own = await metering.tenant(`t-${made++}`)
        await own.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
        const rows = records.map((copies) => {
          const events = copies.map(({ id, tokens, timeGiven }) => {
            const change: EventChange = { tenant: own.id, data: { tokens }, timeGiven }
            return usageEvent(id, change)
          })
          return logRow(events, { offset: offset++ })
        })
        await insertRecords(metering.store, 'copies', rows)
        const all = records.flat()
        const firsts = ['a', 'b', 'c'].flatMap((id) => all.find((one) => one.id === id) ?? [])
        const { body } = await own.call('GET', '/usage?meter=tokens&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z')
        expect(body.total).toEqual({
          quantity: String(firsts.reduce((sum, { tokens }) => sum + tokens, 0)),
          events: firsts.length,
        })
        const differing = firsts.filter(({ id, tokens }) => all.some((one) => one.id === id && one.tokens !== tokens))
        expect((await conflicts(own)).map(({ id }) => id).sort()).toEqual(differing.map(({ id }) => id).sort())
      },
    ),
    { numRuns: 8 },
  )
})
