import { gzipSync } from 'node:zlib'
import { Type } from 'typebox'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JSON_BODY_LIMIT, RAW_BODY_LIMIT, withRawBodies } from '../../../ops/host/bodies.ts'
import type { App } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { type TestHost, testHost } from './host.ts'

const reader = { authorization: 'Bearer reader' }
const config = { permission: 'billing:usage:read' } as const
const CANARY = 'canary-5417'

let host: TestHost
let app: App

function addRoutes(to: App): void {
  const Price = Type.Union([Type.Object({ amount: Type.String() }), Type.Object({ unit_amount: Type.String() })])
  const body = Type.Object(
    {
      name: Type.String({ minLength: 2 }),
      limit: Type.Optional(Type.Integer({ default: 10 })),
      items: Type.Optional(Type.Array(Type.Object({ price: Price }))),
    },
    { additionalProperties: false },
  )
  const querystring = Type.Object(
    {
      limit: Type.Optional(Type.Integer({ minimum: 1, default: 10 })),
      all: Type.Optional(Type.Boolean()),
      group_by: Type.Optional(Type.Array(Type.String())),
    },
    { additionalProperties: false },
  )
  to.post('/things', { config, schema: { body } }, async (request) => request.body)
  to.get('/things', { config, schema: { querystring } }, async (request) => request.query)
  to.get(
    '/things/:id',
    { config, schema: { params: Type.Object({ id: Type.Integer() }) } },
    async (request) => request.params,
  )
  to.get('/whoami', { config }, async (request) => ({ tenant: request.caller.tenantSlug }))
  to.put('/tenants', { config: { permission: 'billing:tenants:create' } }, async () => ({ ok: true }))
}

function addFailures(to: App): void {
  const failures: Record<string, () => unknown> = {
    problem: () => new Problem('quota_exceeded', 'None left.', { extra: { outcomes: [1] }, retryAfterSeconds: 7 }),
    overloaded: () => new Problem('overloaded', 'Full.'),
    calculation: () => new Problem('calculation_failed', 'Parked.', { cause: new Error(CANARY) }),
    unforeseen: () => Object.assign(new Error(`SELECT ${CANARY}`), { detail: CANARY, statusCode: 418 }),
    text: () => CANARY,
    postgres: () => Object.assign(new Error(`connect ${CANARY}`), { code: 'ECONNREFUSED' }),
    terminated: () => new Error('Connection terminated unexpectedly'),
    constraint: () => Object.assign(new Error(CANARY), { code: '23505' }),
  }
  for (const [name, make] of Object.entries(failures)) {
    const fail = async () => {
      throw make()
    }
    to.get(`/fail/${name}`, { config: { permission: 'public' } }, fail)
    to.get(`/promised/${name}`, { config: { permission: 'public', failsAs: 'billing_calculation_failed' } }, fail)
  }
}

beforeAll(async () => {
  host = await testHost()
  app = host.app
  addRoutes(app)
  addFailures(app)
  withRawBodies(app, (scope) => {
    const body = Type.Unsafe<Buffer>({ type: 'object', required: ['id'], examples: [{ id: 'e-1' }] })
    scope.post('/raw', { config, schema: { body } }, async (request) => ({
      isBuffer: Buffer.isBuffer(request.body),
      hex: request.body.subarray(0, 8).toString('hex'),
      bytes: request.body.length,
      encoding: request.headers['content-encoding'] ?? null,
    }))
  })
  await app.ready()
})
afterAll(() => app.close())

async function post(url: string, payload: string | Buffer, headers: Record<string, string> = {}) {
  const answer = await app.inject({
    method: 'POST',
    url,
    payload,
    headers: { ...reader, 'content-type': 'application/json', ...headers },
  })
  return { status: answer.statusCode, type: answer.headers['content-type'], body: answer.json() }
}

async function get(url: string, headers: Record<string, string> = reader) {
  const answer = await app.inject({ method: 'GET', url, headers })
  return { status: answer.statusCode, headers: answer.headers, body: answer.json(), text: answer.body }
}

describe('a route without a known permission fails the start', () => {
  test('added directly', async () => {
    const { app: other } = await testHost()
    expect(() => other.get('/open', async () => 'x')).toThrow('Route GET /open names no known permission')
    expect(() => other.get('/odd', { config: { permission: 'odd' as 'public' } }, async () => 'x')).toThrow('GET /odd')
  })
  test('added in a scope', async () => {
    const { app: other } = await testHost()
    withRawBodies(other, (scope) => {
      scope.post('/raw', async () => 'x')
    })
    await expect(other.ready()).rejects.toThrow('Route POST /raw names no known permission')
  })
})

describe('who may call', () => {
  test('without a key: 401, before the body is looked at', async () => {
    const answer = await app.inject({
      method: 'POST',
      url: '/things',
      payload: '{',
      headers: { 'content-type': 'x/y' },
    })
    expect(answer.statusCode).toBe(401)
    expect(answer.headers['www-authenticate']).toBe('Bearer')
    expect(answer.headers['content-type']).toBe('application/problem+json')
    expect(answer.json()).toEqual({
      type: 'https://tallyline.dev/problems/unauthenticated',
      title: 'No valid API key was given',
      status: 401,
      code: 'unauthenticated',
      detail: 'Send a valid key as Authorization: Bearer tly_…',
      retryable: false,
    })
  })
  test('without the permission: 403 that names it; a raw route is no exception', async () => {
    const answer = await app.inject({ method: 'PUT', url: '/tenants', headers: reader })
    expect(answer.statusCode).toBe(403)
    expect(answer.json()).toMatchObject({
      code: 'forbidden',
      detail: expect.stringContaining('billing:tenants:create'),
    })
    const raw = await post('/raw', '{}', { authorization: 'Bearer operator' })
    expect(raw).toMatchObject({ status: 403, body: { code: 'forbidden' } })
  })
  test('an operator permission on a tenant key: 403', async () => {
    const call = (key: string) =>
      app.inject({ method: 'PUT', url: '/tenants', headers: { authorization: `Bearer ${key}` } })
    expect((await call('impostor')).statusCode).toBe(403)
    expect((await call('operator')).statusCode).toBe(200)
  })
  test('HEAD and trailing variants need the key as well', async () => {
    expect((await app.inject({ method: 'HEAD', url: '/whoami' })).statusCode).toBe(401)
    expect(await get('/whoami')).toMatchObject({ status: 200, body: { tenant: 'acme' } })
  })
})

describe('requests that are not valid', () => {
  test.each([
    ['not JSON', '{"name":', 400, 'invalid_json'],
    ['nothing', '', 400, 'invalid_json'],
    ['__proto__', '{"name":"ab","__proto__":{"admin":true}}', 400, 'invalid_json'],
    ['escaped __proto__', '{"name":"ab","\\u005f_proto__":{}}', 400, 'invalid_json'],
    ['constructor.prototype', '{"name":"ab","constructor":{"prototype":{}}}', 400, 'invalid_json'],
    ['invalid UTF-8', Buffer.from([0x22, 0xc3, 0x28, 0x22]), 400, 'invalid_encoding'],
    ['gzip where JSON is due', gzipSync('{"name":"ab"}'), 400, 'invalid_encoding'],
    ['too long', `"${'x'.repeat(JSON_BODY_LIMIT)}"`, 413, 'body_too_large'],
    ['nested deeply', '['.repeat(500_000) + ']'.repeat(500_000), 400, 'invalid_request'],
    ['another kind', '[]', 400, 'invalid_request'],
  ])('%s', async (_name, payload, status, code) => {
    const answer = await post('/things', payload)
    expect(answer).toMatchObject({ status, type: 'application/problem+json', body: { status, code, retryable: false } })
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })

  test.each(['text/plain', 'application/xml', 'application/x-www-form-urlencoded', 'nonsense'])(
    'content type %s: 415',
    async (type) => {
      expect(await post('/things', 'x', { 'content-type': type })).toMatchObject({
        status: 415,
        body: { code: 'unsupported_media_type' },
      })
    },
  )

  test('errors name the dotted path, unknown and missing members included', async () => {
    const payload = { nam: 'x', limit: '5', items: [{ price: { amount: '1' } }, { price: { amount: 1 } }] }
    const { status, body } = await post('/things', JSON.stringify(payload))
    expect(status).toBe(400)
    expect(body.code).toBe('invalid_request')
    expect(body.errors).toEqual([
      { path: 'name', message: 'is missing' },
      { path: 'nam', message: 'is not a known member' },
      { path: 'limit', message: 'must be integer' },
      { path: 'items.1.price.amount', message: 'must be string' },
      { path: 'items.1.price.unit_amount', message: 'is missing' },
      { path: 'items.1.price', message: 'matches none of the allowed forms' },
    ])
  })

  test('the list of errors is short, however wrong the request', async () => {
    const { body } = await post('/things', JSON.stringify({ name: 'ab', items: Array(50_000).fill(1) }))
    expect(body.errors.length).toBeLessThanOrEqual(8)
    expect(JSON.stringify(body).length).toBeLessThan(3_000)
  })

  test('query and path are converted, a body is not; defaults are filled in', async () => {
    expect((await get('/things?limit=5&all=true&group_by=a&group_by=b')).body).toEqual({
      limit: 5,
      all: true,
      group_by: ['a', 'b'],
    })
    expect((await get('/things?group_by=a')).body).toEqual({ limit: 10, group_by: ['a'] })
    expect((await get('/things/12')).body).toEqual({ id: 12 })
    expect((await post('/things', '{"name":"ab"}')).body).toEqual({ name: 'ab', limit: 10 })
    expect(await get('/things?limit=0')).toMatchObject({ status: 400, body: { errors: [{ path: 'limit' }] } })
    expect(await get('/things?limit=x')).toMatchObject({ status: 400, body: { errors: [{ path: 'limit' }] } })
    expect(await get('/things?odd=1')).toMatchObject({ status: 400, body: { errors: [{ path: 'odd' }] } })
    expect(await get('/things/x')).toMatchObject({ status: 400, body: { errors: [{ path: 'id' }] } })
  })

  test('no such route: 404, with or without a key', async () => {
    for (const headers of [reader, {} as Record<string, string>])
      expect(await get('/nowhere', headers)).toMatchObject({ status: 404, body: { code: 'not_found' } })
    expect(await get('/things/%')).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
  })
})

describe('raw bodies', () => {
  test.each([
    'application/json',
    'application/cloudevents+json',
    'application/cloudevents-batch+json; charset=utf-8',
    'application/x-ndjson',
  ])('%s arrives as it was sent, whatever it holds', async (type) => {
    const payload = Buffer.from([0xff, 0x00, 0x7b, 0xc3])
    const answer = await post('/raw', payload, { 'content-type': type })
    expect(answer).toMatchObject({ status: 200, body: { isBuffer: true, hex: 'ff007bc3', bytes: 4, encoding: null } })
  })
  test('gzip stays gzip', async () => {
    const answer = await post('/raw', gzipSync('{}'), { 'content-encoding': 'gzip' })
    expect(answer.body).toMatchObject({ encoding: 'gzip', hex: expect.stringMatching(/^1f8b/) })
  })
  test('10 MiB pass, a byte more does not; other types are refused; other routes still take JSON', async () => {
    expect(await post('/raw', Buffer.alloc(RAW_BODY_LIMIT))).toMatchObject({
      status: 200,
      body: { bytes: RAW_BODY_LIMIT },
    })
    expect(await post('/raw', Buffer.alloc(RAW_BODY_LIMIT + 1))).toMatchObject({ status: 413 })
    expect(await post('/raw', 'x', { 'content-type': 'text/plain' })).toMatchObject({ status: 415 })
    expect(await post('/things', '{"name":"ab"}')).toMatchObject({ status: 200 })
  })
})

describe('failures', () => {
  test('a problem becomes its document, with its further members', async () => {
    const { status, headers, body } = await get('/fail/problem')
    expect(status).toBe(429)
    expect(headers['retry-after']).toBe('7')
    expect(body).toMatchObject({ code: 'quota_exceeded', detail: 'None left.', outcomes: [1], retryable: false })
  })
  test.each(['overloaded', 'postgres', 'terminated'])('%s: 503, retryable, with Retry-After', async (name) => {
    const { status, headers, body } = await get(`/fail/${name}`)
    expect({ status, after: headers['retry-after'], retryable: body.retryable }).toEqual({
      status: 503,
      after: '1',
      retryable: true,
    })
  })
  test.each(['unforeseen', 'text', 'constraint', 'postgres', 'calculation'])(
    '%s: nothing of it leaks; it is logged with the id that the answer names',
    async (name) => {
      host.logged.length = 0
      const { status, body, text } = await get(`/fail/${name}`)
      expect(status).toBe(name === 'postgres' ? 503 : 500)
      expect(text).not.toContain(CANARY)
      expect(text).not.toMatch(/SELECT|at .*\.ts/)
      expect(body.instance).toBe('urn:uuid:a-request')
      const line = host.logged.map((logged) => JSON.parse(logged)).find((one) => one.message === 'request failed')
      expect(line).toMatchObject({ reqId: 'a-request', code: body.code, level: status === 503 ? 'warn' : 'error' })
      expect(JSON.stringify(line)).toContain(CANARY)
    },
  )
  test.each([
    ['unforeseen', 500, 'billing_calculation_failed'],
    ['text', 500, 'billing_calculation_failed'],
    ['calculation', 500, 'billing_calculation_failed'],
    ['postgres', 503, 'unavailable'],
    ['overloaded', 503, 'overloaded'],
    ['problem', 429, 'quota_exceeded'],
  ])('HC-3: on a route that promised a code for its 500s, %s is %d %s', async (name, status, code) => {
    const { body, text } = await get(`/promised/${name}`)
    expect(body).toMatchObject({ status, code, ...(status < 500 ? {} : { instance: 'urn:uuid:a-request' }) })
    expect(text).not.toContain(CANARY)
  })
})
