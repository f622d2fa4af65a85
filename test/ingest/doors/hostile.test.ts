import { deflateSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import { cloudEvent, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

const SCHEMA = {
  type: 'record',
  name: 'Anything',
  fields: [
    { name: 'tokens', type: ['null', 'double'], default: null },
    { name: 'text', type: 'string', default: '' },
    { name: 'list', type: { type: 'array', items: 'int' }, default: [] },
    { name: 'map', type: { type: 'map', values: 'int' }, default: {} },
  ],
}
const GZIP = { 'content-encoding': 'gzip' }
const LINES = { 'content-type': 'application/x-ndjson' }

let metering: Metering
let tenant: Tenant

beforeAll(async () => {
  metering = await openMetering()
  tenant = await metering.tenant('acme')
  await tenant.call('PUT', '/event-types/llm.request', { schema: SCHEMA })
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
})
afterAll(() => metering.close())

const event = (data: string, id = 'a') =>
  `{"id":"${id}","source":"s","type":"llm.request","subject":"x","data":${data}}`
const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`
const large = (bytes: number) => JSON.stringify(cloudEvent('a', { text: 'x'.repeat(bytes) }))

describe('hostile requests are answered with what is wrong with them', () => {
  test.each([
    ['nested deeply', event(deep(100_000)), {}, 400, 'invalid_json'],
    ['nested deeply, and never closed', '{"a":'.repeat(2_000_000), {}, 400, 'invalid_json'],
    ['nested deeply on one line', `${event('{}')}\n${deep(100)}`, LINES, 400, 'invalid_json'],
    ['NaN as a number', event('{"tokens":NaN}'), {}, 400, 'invalid_json'],
    ['a number that is infinite', event('{"tokens":1e400}'), {}, 400, 'events_refused'],
    ['NaN as text', event('{"tokens":"NaN"}'), {}, 400, 'events_refused'],
    ['a string of 10 MB', large(10_000_000), {}, 400, 'events_refused'],
    ['a string of more than 10 MiB', large(10_500_000), {}, 413, 'body_too_large'],
    ['a key of 9 MB', event(`{"${'k'.repeat(9_000_000)}":1}`), {}, 400, 'events_refused'],
    [
      'a million keys',
      event(`{${Array.from({ length: 500_000 }, (_, n) => `"k${n}":1`).join()}}`),
      {},
      400,
      'events_refused',
    ],
    ['a million numbers', event(`{"list":[${'1,'.repeat(1_000_000)}1]}`), {}, 400, 'events_refused'],
    ['a gzip bomb', gzipSync(Buffer.alloc(200_000_000, 0x20)), GZIP, 413, 'body_too_large'],
    ['a gzip bomb of lines', gzipSync('{}\n'.repeat(10_000_000)), { ...GZIP, ...LINES }, 413, 'body_too_large'],
    ['truncated gzip', gzipSync(event('{}')).subarray(0, 40), GZIP, 400, 'invalid_encoding'],
    ['gzip that is none', event('{}'), GZIP, 400, 'invalid_encoding'],
    ['gzip that is not said to be', gzipSync(event('{}')), {}, 400, 'invalid_encoding'],
    ['deflate', deflateSync(event('{}')), { 'content-encoding': 'deflate' }, 415, 'unsupported_media_type'],
    [
      'gzip twice',
      gzipSync(gzipSync(event('{}'))),
      { 'content-encoding': 'gzip, gzip' },
      415,
      'unsupported_media_type',
    ],
    ['a form', 'a=b', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'unsupported_media_type'],
    [
      'another charset',
      event('{}'),
      { 'content-type': 'application/json; charset=utf-16' },
      415,
      'unsupported_media_type',
    ],
    ['invalid UTF-8', Buffer.from('ff7b7d', 'hex'), {}, 400, 'invalid_encoding'],
    [
      'half a character',
      Buffer.concat([Buffer.from('{"id":"'), Buffer.from([0xe2, 0x82]), Buffer.from('"}')]),
      {},
      400,
      'invalid_encoding',
    ],
    ['half a surrogate in an id', event('{}', '\\ud800'), {}, 400, 'events_refused'],
    ['a zero byte in an id', event('{}', '\\u0000'), {}, 400, 'events_refused'],
    ['ten thousand scalars', `[${'0,'.repeat(9_999)}0]`, {}, 400, 'events_refused'],
  ] as [string, string | Buffer, Record<string, string>, number, string][])(
    '%s',
    async (_name, body, headers, status, code) => {
      const answer = await tenant.send(body, headers)
      expect(answer).toMatchObject({
        status,
        headers: { 'content-type': 'application/problem+json' },
        body: { status, code, retryable: false },
      })
      expect(JSON.stringify(answer.body).length).toBeLessThan(5_000_000)
    },
  )

  test('__proto__ as data pollutes nothing and is an unknown field', async () => {
    for (const data of ['{"__proto__":{"tokens":5}}', '{"constructor":{"prototype":{"polluted":1}}}']) {
      const answer = await tenant.send(event(data))
      expect(answer).toMatchObject({ status: 400, body: { outcomes: [{ code: 'unknown_field' }] } })
    }
    const around = `{"__proto__":{"id":"p","source":"s"},"type":"llm.request","subject":"x","data":{}}`
    expect(await tenant.send(around)).toMatchObject({ status: 400, body: { outcomes: [{ code: 'missing_field' }] } })
    expect((await tenant.send(event('{"map":{"__proto__":1,"toString":2}}', 'proto'))).status).toBe(202)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
    expect(await dataOf('proto')).toContain('"map":{"__proto__":1,"toString":2}')
  })

  test('of duplicate keys the last counts, and only that is stored', async () => {
    const body = `{"id":"x","id":"dup","source":"s","type":"llm.request","subject":"x","data":{"tokens":9},"data":{"tokens":1,"tokens":2}}`
    expect((await tenant.send(body)).status).toBe(202)
    expect(await dataOf('dup')).toBe('{"tokens":2,"text":"","list":[],"map":{}}')
  })

  test('none of it reached the log, and the door still works', async () => {
    expect((await tenant.send(event('{"tokens":1}', 'fine'))).status).toBe(202)
    expect((await logged()).map(({ id }) => id).sort()).toEqual(['dup', 'fine', 'proto'])
  })
})

describe('whatever is sent', () => {
  const headers = fc.record({
    'content-type': fc.constantFrom('application/json', 'application/x-ndjson', 'application/cloudevents-batch+json'),
    'content-encoding': fc.constantFrom('identity', 'gzip'),
  })

  test('bytes: never an error of ours', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), headers, async (bytes, with_) => {
        expect((await tenant.send(Buffer.from(bytes), with_)).status).toBeLessThan(500)
      }),
      { numRuns: 150 },
    )
  })

  test('JSON that looks like events: never an error of ours, one outcome for each', async () => {
    const value = fc.jsonValue({ maxDepth: 3 })
    const attribute = (right: fc.Arbitrary<unknown>) => fc.oneof({ weight: 4, arbitrary: right }, value)
    const events = fc.array(
      fc.record(
        {
          id: attribute(fc.uuid()),
          source: attribute(fc.constant('s')),
          type: attribute(fc.constant('llm.request')),
          subject: attribute(fc.string({ unit: 'binary', maxLength: 300 })),
          time: attribute(fc.date({ noInvalidDate: true }).map((date) => date.toISOString())),
          data: attribute(fc.record({ tokens: fc.double() })),
        },
        { requiredKeys: [] },
      ),
      { minLength: 1, maxLength: 5 },
    )
    await fc.assert(
      fc.asyncProperty(events, async (some) => {
        const answer = await tenant.send(JSON.stringify(some))
        expect([202, 400]).toContain(answer.status)
        expect(answer.body.outcomes).toHaveLength(some.length)
      }),
      { numRuns: 150 },
    )
  })
})

async function logged() {
  const rows = await metering.log.reader.read([0, 0, 0], 1e9)
  return rows.flatMap(({ batch }) => decodeBatch(batch))
}

async function dataOf(id: string): Promise<string | undefined> {
  return (await logged()).find((one) => one.id === id)?.data
}
