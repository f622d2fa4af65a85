import { randomBytes } from 'node:crypto'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthenticator } from '../../../ops/access/authenticate.ts'
import { createKey, createOperatorKey } from '../../../ops/access/create-key.ts'
import { keyDoor } from '../../../ops/access/doors/keys.ts'
import { generateKey } from '../../../ops/access/key.ts'
import { insertApiKey } from '../../../ops/access/keys.postgres.ts'
import { putTenant } from '../../../ops/access/put-tenant.ts'
import { buildHost } from '../../../ops/host/server.ts'
import type { App, Caller } from '../../../schemas/http/door.ts'
import { OPERATOR_PERMISSIONS, PERMISSIONS, SCOPED_PERMISSIONS } from '../../../schemas/http/permissions.ts'
import type { Scope } from '../../../schemas/http/scope.ts'
import { createCustomer } from '../../support/customers.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

const READ = ['billing:usage:read']
let database: TestDatabase
let tenant: number
let acme: string
let other: string
let app: App
let operator: string
const callerOf = (key: string) =>
  createAuthenticator({ pool: database.pool, now: () => 0 }).authenticate(`Bearer ${key}`)

beforeAll(async () => {
  database = await createTestDatabase()
  tenant = await database.createTenant('acme')
  acme = await createCustomer(database.pool, tenant, 'acme-inc', [])
  other = await createCustomer(database.pool, await database.createTenant('other'), 'of-the-other', [])
  const { authenticate } = createAuthenticator({ pool: database.pool, now: () => 0 })
  app = await buildHost({ logger: pino({ level: 'silent' }), metrics: new Registry(), authenticate, version: '0' })
  keyDoor(app, { pool: database.pool, randomBytes })
  operator = (await createOperatorKey(database.pool, randomBytes)).key
})
afterAll(async () => {
  await app.close()
  await database.drop()
})

async function ask(payload: object, key = operator) {
  const headers = { authorization: `Bearer ${key}` }
  const answer = await app.inject({ method: 'POST', url: '/api/v1/tenants/acme/keys', headers, payload })
  return { status: answer.statusCode, body: answer.json<Record<string, unknown>>() }
}

describe('a key with a scope (HC-8)', () => {
  test('is made of a customer, by external key or id, or of subjects; the answer says of which', async () => {
    for (const customer of ['acme-inc', acme]) {
      const { status, body } = await ask({ permissions: READ, scope: { customer } })
      expect([status, body.scope]).toEqual([201, { customer: acme }])
      expect(await callerOf(String(body.key))).toMatchObject({ tenantId: tenant, scope: { customer: acme } })
    }
    const { body } = await ask({ permissions: [...SCOPED_PERMISSIONS], scope: { subjects: ['u-1', 'ü,"2"'] } })
    expect(body.scope).toEqual({ subjects: ['u-1', 'ü,"2"'] })
    expect(await callerOf(String(body.key))).toMatchObject({
      scope: { subjects: ['u-1', 'ü,"2"'] },
      operator: false,
      permissions: new Set(SCOPED_PERMISSIONS),
    })
  })

  test('holds permissions to read usage and meters, and none of the others', async () => {
    const others = PERMISSIONS.filter((one) => !SCOPED_PERMISSIONS.includes(one) && !OPERATOR_PERMISSIONS.includes(one))
    expect(others.length).toBeGreaterThan(15)
    for (const permission of others) {
      expect(await ask({ permissions: [...READ, permission], scope: { subjects: ['u-1'] } })).toMatchObject({
        status: 400,
        body: {
          code: 'invalid_request',
          errors: [{ path: 'permissions', message: expect.stringContaining(permission) }],
        },
      })
    }
  })

  test('is refused where its scope is empty, double, unknown, or another tenant’s: it never falls back to everything', async () => {
    const refusals: [unknown, string][] = [
      [{}, 'scope'],
      [{ customer: 'acme-inc', subjects: ['u-1'] }, 'scope'],
      [{ subjects: [] }, 'scope.subjects'],
      [{ subjects: [''] }, 'scope.subjects.0'],
      [{ subjects: Array.from({ length: 101 }, (_, n) => `u-${n}`) }, 'scope.subjects'],
      [{ subjects: ['x'.repeat(257)] }, 'scope.subjects.0'],
      [{ subjects: ['u-1', 'u\0'] }, 'scope.subjects.1'],
      [{ customer: 'acme\0' }, 'scope.customer'],
      [{ customer: 'nobody' }, 'scope.customer'],
      [{ customer: 'of-the-other' }, 'scope.customer'],
      [{ customer: other }, 'scope.customer'],
      [{ everything: true }, 'scope.everything'],
      ['everything', 'scope'],
      [null, 'scope'],
    ]
    for (const [scope, path] of refusals) {
      const answer = await ask({ permissions: READ, scope })
      expect([scope, answer]).toMatchObject([scope, { status: 400, body: { errors: [{ path }] } }])
    }
  })

  test('cannot make keys or tenants, with any permissions and even as an operator', async () => {
    const scoped: Caller = {
      ...{ tenantId: tenant, tenantSlug: 'acme', keyId: 'k', operator: true },
      ...{ permissions: new Set(PERMISSIONS), scope: { subjects: ['u-1'] } },
    }
    const wanted = { tenant: 'acme', permissions: READ, grantor: scoped, scope: { subjects: ['u-1'] } }
    await expect(createKey(wanted, database.pool, randomBytes)).rejects.toMatchObject({ code: 'forbidden' })
    const { scope: _scope, ...broader } = wanted
    await expect(createKey(broader, database.pool, randomBytes)).rejects.toMatchObject({ code: 'forbidden' })
    await expect(putTenant({ slug: 'x', grantor: scoped }, database.pool)).rejects.toMatchObject({ code: 'forbidden' })
    const { body } = await ask({ permissions: READ, scope: { subjects: ['u-1'] } })
    for (const scope of [undefined, { subjects: ['u-2'] }, { subjects: ['u-1'] }])
      expect(await ask({ permissions: READ, scope }, String(body.key))).toMatchObject({ status: 403 })
  })

  test('reads and nothing else, even with a row that says more', async () => {
    const { key, publicId, sha256 } = generateKey(randomBytes)
    const scope: Scope = { customer: acme }
    await insertApiKey(database.pool, {
      ...{ tenantId: tenant, publicId, sha256, operator: false, permissions: [...PERMISSIONS], scope },
    })
    expect(await callerOf(key)).toMatchObject({ operator: false, scope, permissions: new Set(SCOPED_PERMISSIONS) })
  })
})
