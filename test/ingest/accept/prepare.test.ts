import { v7 } from 'uuid'
import { describe, expect, test } from 'vitest'
import type { TenantConfig } from '../../../ingest/accept/config.ts'
import { edgeMeterOf } from '../../../ingest/accept/meter-value.ts'
import { createPrepare } from '../../../ingest/accept/prepare.ts'
import { compileEventType } from '../../../ingest/event-types/avro-schema.ts'
import { partitionOf, shardOf } from '../../../schemas/event/identity.ts'
import { decodeBatch, encodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import { cloudEvent, type Json, LLM_SCHEMA } from '../../support/metering.ts'
import { quotaLimit } from '../../support/quota-limit.ts'

const NOW = Date.UTC(2026, 10, 20, 12)
const DAY = 86_400_000
const PARTITIONS = 4
/** When another version of a meter begins. */
const SINCE = NOW - 3_600_000
const ODD = compileEventType({
  type: 'record',
  name: 'Odd',
  fields: [{ name: 'n', type: ['string', 'double', 'null'] }],
})
const COMPUTED = { eventType: 'computed', aggregation: 'sum' as const, filter: null, fromMs: 0, untilMs: null }
const LIMITS = [
  quotaLimit({ meter: 'tokens', limitMicro: 1_000_000_000n }),
  quotaLimit({ meter: 'requests', window: 'day', limitMicro: 5_000_000n }),
  quotaLimit({ meter: 'odd', window: 'day', limitMicro: 5_000_000n }),
  quotaLimit({ meter: 'changing', window: 'day', limitMicro: 9_000_000n }),
]

const config: TenantConfig = {
  types: new Map([
    ['llm.request', compileEventType(LLM_SCHEMA)],
    ['odd', ODD],
    ['computed', ODD],
  ]),
  metersOfType: new Map([
    [
      'llm.request',
      [
        { slug: 'tokens', eventType: 'llm.request', aggregation: 'sum', valuePath: ['tokens'] },
        { slug: 'requests', eventType: 'llm.request', aggregation: 'count', valuePath: [] },
        { slug: 'cost', eventType: 'llm.request', aggregation: 'sum', valuePath: ['cost'] },
      ],
    ],
    [
      'computed',
      [
        edgeMeterOf({
          ...{ ...COMPUTED, slug: 'changing', value: '2 * n + n / 4', untilMs: SINCE },
          filter: { not: { equals: { path: 'n', value: 'none' } } },
        }),
        edgeMeterOf({ ...COMPUTED, slug: 'changing', value: 'n - 8', fromMs: SINCE }),
        edgeMeterOf({ ...COMPUTED, slug: 'kinds', aggregation: 'unique_count', value: 'n' }),
      ],
    ],
    ['odd', [{ slug: 'odd', eventType: 'odd', aggregation: 'sum', valuePath: ['n'] }]],
  ]),
  limitsOf: (subject) => (subject === 'customer-1' ? LIMITS : []),
  grantsOf: () => expect.unreachable('events are asked about limits only'),
  loadedAtMs: NOW,
}

const REQUEST = { tenant: 7, config, nowMs: NOW, mayBackfill: false, partitions: PARTITIONS }

function prepare(raw: unknown, mayBackfill = false) {
  return createPrepare({ ...REQUEST, mayBackfill })(raw)
}

function prepared(raw: Json, mayBackfill = false) {
  const one = prepare(raw, mayBackfill)
  if ('outcome' in one) throw new Error(`${one.code}: ${one.message}`)
  return one
}

function refused(raw: unknown): [string, string] {
  const one = prepare(raw)
  return 'outcome' in one ? [one.code, one.path] : ['prepared', '']
}

describe('what is appended', () => {
  test('is the event with its defaults, re-encoded, under the identity of the credential’s tenant', () => {
    const one = prepared(cloudEvent('row-1', { tokens: 5 }, { time: '2026-11-20T11:00:00.1239Z', tenant: 8 }))
    const identity = { tenant: 7, source: 'test', id: 'row-1' }
    expect(decodeBatch(encodeBatch([one.encoded]))).toEqual([
      {
        ...identity,
        shard: shardOf(identity),
        type: 'llm.request',
        subject: 'customer-1',
        timeMs: NOW - 3_600_000 + 123,
        timeGiven: true,
        data: '{"tokens":5,"model":"small","cost":null}',
      },
    ])
    expect(one.partition).toBe(partitionOf(identity, PARTITIONS))
  })

  test('an event without a time takes that of arrival, and says so', () => {
    const [event] = decodeBatch(encodeBatch([prepared(cloudEvent('row-1')).encoded]))
    expect(event).toMatchObject({ timeMs: NOW, timeGiven: false })
  })

  test('copies that mean the same are encoded the same: order of members and numbers’ spelling do not count', () => {
    const spelled = (data: string) => prepared(cloudEvent('row-1', JSON.parse(data) as Json)).encoded
    expect(spelled('{"model":"small","tokens":5.0}')).toEqual(spelled('{"tokens":5e0,"cost":null}'))
    expect(spelled('{"tokens":5}')).not.toEqual(spelled('{"tokens":6}'))
  })
})

describe('what is refused', () => {
  test.each([
    ['an unknown type', { type: 'nothing' }, 'unknown_type', 'type'],
    ['a field that the schema lacks', { data: { tokens: 1, odd: 1 } }, 'unknown_field', 'data.odd'],
    ['a field of another kind', { data: { tokens: '1' } }, 'invalid_value', 'data.tokens'],
    ['no subject', { subject: undefined }, 'missing_field', 'subject'],
    ['a negative quantity', { data: { tokens: -1 } }, 'invalid_quantity', 'data.tokens'],
    ['a text that is no quantity', { type: 'odd', data: { n: 'many' } }, 'invalid_quantity', 'data.n'],
    ['a number of too many digits', { type: 'odd', data: { n: 0.1 + 0.2 } }, 'invalid_value', 'data.n'],
    ['an event of tomorrow', { time: '2026-11-21T12:00:00Z' }, 'event_in_future', 'time'],
    ['an event of last year', { time: '2025-11-21T12:00:00Z' }, 'event_too_old', 'time'],
  ])('%s', (_name, change: Json, code, path) => {
    expect(refused(cloudEvent('row-1', { tokens: 1 }, change))).toEqual([code, path])
  })

  test('carries the id, and a message that says what to do', () => {
    expect(prepare(cloudEvent('row-1', {}, { type: 'x.y' }))).toEqual({
      outcome: 'rejected',
      id: 'row-1',
      code: 'unknown_type',
      path: 'type',
      message: 'Register the schema of x.y first: PUT /api/v1/event-types/x.y',
    })
    for (const raw of [null, 5, 'x', [], {}]) expect(prepare(raw)).not.toHaveProperty('id')
  })

  test('an id whose time is more than a day ahead, or older than events are kept: it would choose a strange shard', () => {
    const at = (ms: number) => cloudEvent(v7({ msecs: ms }))
    for (const ms of [NOW, NOW + DAY, NOW - 5 * 365 * DAY]) expect(refused(at(ms))).toEqual(['prepared', ''])
    expect(refused(at(NOW + DAY + 1))).toEqual(['id_time', 'id'])
    expect(refused(at(Date.UTC(2099, 0, 1)))).toEqual(['id_time', 'id'])
    // Outside 2020–2100 an id is opaque, and its time means nothing.
    expect(refused(at(Date.UTC(2019, 11, 31)))).toEqual(['prepared', ''])
    expect(createPrepare({ ...REQUEST, nowMs: Date.UTC(2027, 5, 1) })(at(Date.UTC(2020, 0, 1)))).toMatchObject({
      code: 'id_time',
    })
  })
})

describe('what is drawn', () => {
  const draws = (raw: Json, mayBackfill = false) =>
    prepared(raw, mayBackfill).draws.map(({ counter, micro, limitMicro }) => [
      counter.meter,
      micro,
      limitMicro,
      new Date(counter.startMs).toISOString().slice(0, 10),
      new Date(counter.endMs).toISOString().slice(0, 10),
    ])

  test('the quantity of each meter that limits the subject', () => {
    expect(draws(cloudEvent('row-1', { tokens: 3 }))).toEqual([
      ['tokens', 3_000_000n, 1_000_000_000n, '2026-11-01', '2026-12-01'],
      ['requests', 1_000_000n, 5_000_000n, '2026-11-20', '2026-11-21'],
    ])
    expect(prepared(cloudEvent('row-1')).draws[0]?.counter).toMatchObject({ tenant: 7, subject: 'customer-1' })
  })

  test('on the window that the event’s time lies in, not on that of its arrival', () => {
    const old = cloudEvent('row-1', { tokens: 3 }, { time: '2026-10-31T23:59:59.999Z' })
    expect(draws(old).map((draw) => draw.slice(3))).toEqual([
      ['2026-10-01', '2026-11-01'],
      ['2026-10-31', '2026-11-01'],
    ])
  })

  test('nothing for a subject without a limit', () => {
    expect(draws(cloudEvent('row-1', { tokens: 3 }, { subject: 'customer-2' }))).toEqual([])
  })
})

describe('a meter in versions, with an expression and a filter', () => {
  const before = '2026-11-20T10:59:59.999Z'
  const since = '2026-11-20T11:00:00Z'
  const event = (n: unknown, time: string) => cloudEvent('row-1', { n }, { type: 'computed', time })
  const drawn = (n: unknown, time: string) => prepared(event(n, time)).draws.map(({ micro }) => micro)

  test('draws what the version of the event’s time makes of it', () => {
    expect(drawn(10, before)).toEqual([22_500_000n])
    expect(drawn('10.5', since)).toEqual([2_500_000n])
  })

  test('refuses what that version cannot count, and nothing that its filter leaves out', () => {
    expect(refused(event('many', before))).toEqual(['invalid_quantity', 'data.n'])
    expect(refused(event('none', before))).toEqual(['prepared', ''])
    expect(drawn('none', before)).toEqual([])
    expect(refused(event('none', since))).toEqual(['invalid_quantity', 'data.n'])
    // The property is a decimal; what comes out is below 0.
    expect(refused(event(7, since))).toEqual(['invalid_quantity', 'data'])
    expect(refused(event(7, before))).toEqual(['prepared', ''])
  })
})
