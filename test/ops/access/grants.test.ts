import { randomBytes } from 'node:crypto'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthenticator } from '../../../ops/access/authenticate.ts'
import { createKey, createOperatorKey } from '../../../ops/access/create-key.ts'
import { keyDoor } from '../../../ops/access/doors/keys.ts'
import { tenantDoor } from '../../../ops/access/doors/tenants.ts'
import { buildHost } from '../../../ops/host/server.ts'
import type { App, Caller } from '../../../schemas/http/door.ts'
import { OPERATOR_PERMISSIONS, PERMISSIONS, type Permission } from '../../../schemas/http/permissions.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase
let app: App
let operator: string
const tenantPermissions = PERMISSIONS.filter((permission) => !OPERATOR_PERMISSIONS.includes(permission))

beforeAll(async () => {
  database = await createTestDatabase()
  const { authenticate } = createAuthenticator({ pool: database.pool, now: () => 0 })
  const logger = pino({ level: 'silent' })
  app = await buildHost({ logger, metrics: new Registry(), authenticate, version: '1.2.3' })
  tenantDoor(app, { pool: database.pool })
  keyDoor(app, { pool: database.pool, randomBytes })
  operator = (await createOperatorKey(database.pool, randomBytes)).key
})
afterAll(async () => {
  await app.close()
  await database.drop()
})

async function call(method: 'PUT' | 'POST', url: string, key: string | undefined, payload?: object) {
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` }
  const answer = await app.inject({ method, url, headers, ...(payload ? { payload } : {}) })
  return { status: answer.statusCode, body: answer.json<Record<string, unknown>>(), headers: answer.headers }
}

test('an operator makes a tenant, twice without harm, with or without a body', async () => {
  for (const payload of [{}, {}, undefined]) {
    const answer = await call('PUT', '/api/v1/tenants/acme', operator, payload)
    expect(answer).toMatchObject({ status: 200, body: { slug: 'acme' } })
  }
  const { rows } = await database.pool.query("SELECT * FROM list_tenants() WHERE slug = 'acme'")
  expect(rows).toHaveLength(1)
})

test.each(['Acme', '-acme', 'a b', 'a'.repeat(64), 'ä', "x';--"])('the slug %j is refused', async (slug) => {
  const answer = await call('PUT', `/api/v1/tenants/${encodeURIComponent(slug)}`, operator, {})
  expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request', errors: [{ path: 'slug' }] } })
})

test('a key that an operator made works, shows once what it holds, and is stored as a hash only', async () => {
  await call('PUT', '/api/v1/tenants/acme', operator, {})
  const permissions = ['billing:usage:read', 'billing:usage:create', 'billing:usage:read']
  const { status, body, headers } = await call('POST', '/api/v1/tenants/acme/keys', operator, { permissions })
  expect(status).toBe(201)
  expect(headers['cache-control']).toBe('no-store')
  expect(body).toEqual({
    key: expect.stringMatching(/^tly_/),
    key_id: expect.any(String),
    tenant: 'acme',
    permissions: ['billing:usage:create', 'billing:usage:read'],
  })
  expect(body.key).toContain(`_${body.key_id}_`)
  const { rows } = await database.pool.query('SELECT * FROM find_api_key($1)', [body.key_id])
  expect(JSON.stringify(rows)).not.toContain(String(body.key).split('_')[2])
})

test('tenant keys cannot make tenants or keys', async () => {
  await call('PUT', '/api/v1/tenants/acme', operator, {})
  const made = await call('POST', '/api/v1/tenants/acme/keys', operator, { permissions: tenantPermissions })
  const key = String(made.body.key)
  const answers = [
    await call('PUT', '/api/v1/tenants/other', key, {}),
    await call('POST', '/api/v1/tenants/acme/keys', key, { permissions: ['billing:usage:read'] }),
  ]
  for (const answer of answers) expect(answer).toMatchObject({ status: 403, body: { code: 'forbidden' } })
  expect(await call('PUT', '/api/v1/tenants/other', undefined, {})).toMatchObject({ status: 401 })
})

test('what a request for a key may not say', async () => {
  const url = '/api/v1/tenants/acme/keys'
  const refusals: [object, number, object][] = [
    [{ permissions: ['billing:nonsense:read'] }, 400, { errors: [{ path: 'permissions.0' }] }],
    [{ permissions: ['billing:tenants:create'] }, 400, { detail: expect.stringContaining('billing:tenants:create') }],
    [{ permissions: [] }, 400, { errors: [{ path: 'permissions' }] }],
    [{ permissions: 'billing:usage:read' }, 400, { errors: [{ path: 'permissions', message: 'must be array' }] }],
    [{ permissions: [7] }, 400, { errors: [{ path: 'permissions.0', message: 'must be string' }] }],
    [{}, 400, { errors: [{ path: 'permissions', message: 'is missing' }] }],
    [{ permissions: ['billing:usage:read'], operator: true }, 400, { errors: [{ path: 'operator' }] }],
  ]
  for (const [payload, status, body] of refusals)
    expect(await call('POST', url, operator, payload)).toMatchObject({ status, body })
  const lost = await call('POST', '/api/v1/tenants/nobody/keys', operator, { permissions: ['billing:usage:read'] })
  expect(lost).toMatchObject({ status: 404, body: { code: 'not_found' } })
})

describe('a grantor', () => {
  const grantor = (permissions: Permission[], isOperator: boolean): Caller => ({
    tenantId: 1,
    tenantSlug: 'default',
    keyId: 'x',
    operator: isOperator,
    permissions: new Set(permissions),
    scope: 'everything',
  })
  const wanted = { tenant: 'acme', permissions: ['billing:usage:read', 'billing:usage:create'] }

  test('cannot grant what it lacks', async () => {
    const half = grantor(['billing:keys:create', 'billing:usage:read'], true)
    await expect(createKey({ ...wanted, grantor: half }, database.pool, randomBytes)).rejects.toMatchObject({
      code: 'forbidden',
      message: expect.stringContaining('billing:usage:create'),
    })
  })

  test('must be an operator, whatever its permissions say', async () => {
    const tenantKey = grantor([...PERMISSIONS], false)
    await expect(createKey({ ...wanted, grantor: tenantKey }, database.pool, randomBytes)).rejects.toMatchObject({
      code: 'forbidden',
    })
  })

  test('at the command line makes any tenant key', async () => {
    const made = await createKey(
      { tenant: 'default', permissions: tenantPermissions, grantor: 'owner' },
      database.pool,
      randomBytes,
    )
    expect(made.permissions).toEqual(tenantPermissions)
  })
})
