import { randomBytes } from 'node:crypto'
import type { Pool } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Authenticator, createAuthenticator } from '../../../ops/access/authenticate.ts'
import { createKey, createOperatorKey } from '../../../ops/access/create-key.ts'
import { generateKey } from '../../../ops/access/key.ts'
import { insertApiKey } from '../../../ops/access/keys.postgres.ts'
import { openPool } from '../../../ops/access/pool.postgres.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

const CACHE_MS = 8_000
let database: TestDatabase
let tenantA: number
let tenantB: number
let nowMs: number
let lookups: number
let away: 'no' | 'refusing' | 'silent'
let auth: Authenticator

/** The real pool, counted, and able to be away. */
function watchedPool(): Pool {
  return new Proxy(database.pool, {
    get: (pool, name) => {
      if (name !== 'query') return Reflect.get(pool, name)
      return (text: string, values: unknown[]) => {
        lookups++
        if (away === 'refusing') return Promise.reject(Object.assign(new Error('no'), { code: 'ECONNREFUSED' }))
        if (away === 'silent') return new Promise(() => undefined)
        return pool.query(text, values)
      }
    },
  })
}

async function newKey(tenant: string, permissions = ['billing:usage:create']): Promise<{ header: string; id: string }> {
  const made = await createKey({ tenant, permissions, grantor: 'owner' }, database.pool, randomBytes)
  return { header: `Bearer ${made.key}`, id: made.keyId }
}

async function revoke(tenantId: number, keyId: string): Promise<void> {
  await withTenant(database.pool, tenantId, async (tx) => {
    const { rowCount } = await tx.query('UPDATE api_keys SET revoked_at = now() WHERE public_id = $1', [keyId])
    expect(rowCount).toBe(1)
  })
}

beforeAll(async () => {
  database = await createTestDatabase()
  tenantA = await database.createTenant('a')
  tenantB = await database.createTenant('b')
})
afterAll(() => database.drop())
beforeEach(() => {
  nowMs = 1_000_000
  lookups = 0
  away = 'no'
  auth = createAuthenticator({ pool: watchedPool(), now: () => nowMs, cacheMs: CACHE_MS, lookupMs: 1_000 })
})

test('a key answers its own tenant and permissions, from the cache after the first time', async () => {
  const a = await newKey('a', ['billing:usage:read', 'billing:usage:create'])
  const b = await newKey('b')
  const callers = [await auth.authenticate(a.header), await auth.authenticate(a.header)]
  expect(callers[1]).toBe(callers[0])
  expect(callers[0]).toEqual({
    tenantId: tenantA,
    tenantSlug: 'a',
    keyId: a.id,
    operator: false,
    permissions: new Set(['billing:usage:create', 'billing:usage:read']),
    scope: 'everything',
  })
  expect(await auth.authenticate(b.header)).toMatchObject({ tenantId: tenantB, keyId: b.id })
  expect(lookups).toBe(2)
})

test('many requests with one new key ask Postgres once', async () => {
  const { header } = await newKey('a')
  const callers = await Promise.all(Array.from({ length: 50 }, () => auth.authenticate(header)))
  expect(new Set(callers.map((caller) => caller?.tenantId))).toEqual(new Set([tenantA]))
  expect(lookups).toBe(1)
})

test('anything but a valid bearer key is refused without asking Postgres', async () => {
  const { header } = await newKey('a')
  const key = header.slice('Bearer '.length)
  const others = [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    key,
    `Basic ${key}`,
    `Bearer ${key}x`,
    `Bearer ${key} x`,
    'Bearer x',
  ]
  for (const other of others) expect(await auth.authenticate(other)).toBeUndefined()
  expect(await auth.authenticate(`Bearer ${'x'.repeat(100_000)}`)).toBeUndefined()
  expect(lookups).toBe(0)
  expect(await auth.authenticate(`bearer  ${key}`)).toMatchObject({ tenantId: tenantA })
})

test('a known public id with another secret is refused, and asked for once a second at most', async () => {
  const { id } = await newKey('a')
  const forged = forgedKey(id)
  for (let i = 0; i < 10; i++) expect(await auth.authenticate(`Bearer ${forged}`)).toBeUndefined()
  expect(lookups).toBe(1)
  nowMs += 1_001
  expect(await auth.authenticate(`Bearer ${forged}`)).toBeUndefined()
  expect(lookups).toBe(2)
})

describe('a revoked key dies', () => {
  test('within the cache time when no notification comes', async () => {
    const { header, id } = await newKey('a')
    expect(await auth.authenticate(header)).toBeDefined()
    await revoke(tenantA, id)
    nowMs += CACHE_MS
    expect(await auth.authenticate(header)).toBeUndefined()
  })

  test('earlier when it is in use: the refresh runs behind the requests', async () => {
    const { header, id } = await newKey('a')
    await auth.authenticate(header)
    await revoke(tenantA, id)
    nowMs += CACHE_MS / 2
    expect(await auth.authenticate(header)).toBeDefined()
    await expect.poll(() => auth.authenticate(header)).toBeUndefined()
  })

  test('at once when the notification arrives, and the keys of other tenants are left alone', async () => {
    const a = await newKey('a')
    const b = await newKey('b')
    await auth.authenticate(a.header)
    await auth.authenticate(b.header)
    await revoke(tenantA, a.id)
    auth.invalidate(tenantA)
    expect(await auth.authenticate(a.header)).toBeUndefined()
    expect(await auth.authenticate(b.header)).toBeDefined()
    expect(lookups).toBe(3)
  })

  test('also when the notification overtakes a look-up that began before it', async () => {
    const { header, id } = await newKey('a')
    const early = auth.authenticate(header)
    auth.invalidate(tenantA)
    await early
    await revoke(tenantA, id)
    expect(await auth.authenticate(header)).toBeUndefined()
  })
})

describe('while Postgres is away', () => {
  test.each(['refusing', 'silent'] as const)('known keys go on working, unknown ones get 503 (%s)', async (how) => {
    const { header, id } = await newKey('a')
    const unknown = await newKey('a')
    await auth.authenticate(header)
    away = how
    for (let i = 0; i < 5; i++) {
      nowMs += CACHE_MS
      expect(await auth.authenticate(header)).toMatchObject({ tenantId: tenantA })
    }
    await expect(auth.authenticate(unknown.header)).rejects.toMatchObject({ code: 'unavailable' })
    away = 'no'
    await revoke(tenantA, id)
    nowMs += CACHE_MS
    expect(await auth.authenticate(header)).toBeUndefined()
    expect(await auth.authenticate(unknown.header)).toBeDefined()
  })

  test('a flood of invented keys is shed instead of queued', async () => {
    away = 'silent'
    const invented = () => auth.authenticate(`Bearer ${generateKey(randomBytes).key}`)
    const waiting = Array.from({ length: 200 }, () => invented().catch(() => undefined))
    await expect(invented()).rejects.toMatchObject({ code: 'overloaded' })
    await Promise.all(waiting)
  })
})

test('the cache is bounded, and a key in use outlives one that is not', async () => {
  const small = createAuthenticator({ pool: watchedPool(), now: () => nowMs, cacheMs: CACHE_MS, maxEntries: 2 })
  const [used, idle, fresh] = [await newKey('a'), await newKey('a'), await newKey('a')]
  await small.authenticate(used.header)
  await small.authenticate(idle.header)
  nowMs += CACHE_MS
  await small.authenticate(used.header)
  await small.authenticate(fresh.header)
  lookups = 0
  await small.authenticate(used.header)
  expect(lookups).toBe(0)
  await small.authenticate(idle.header)
  expect(lookups).toBe(1)
})

test('a tenant key never reaches beyond its tenant, even with a row that says so', async () => {
  const { key, publicId, sha256 } = generateKey(randomBytes)
  const permissions = ['billing:tenants:create', 'billing:keys:create', 'billing:nonsense:read', 'billing:usage:read']
  await insertApiKey(database.pool, {
    ...{ tenantId: tenantA, publicId, sha256, operator: false, permissions, scope: 'everything' },
  })
  const caller = await auth.authenticate(`Bearer ${key}`)
  expect([...(caller?.permissions ?? [])]).toEqual(['billing:usage:read'])
})

test("row-level security: a tenant sees its own keys only and cannot write another tenant's", async () => {
  const a = await newKey('a')
  const b = await newKey('b')
  const operator = await createOperatorKey(database.pool, randomBytes)
  const seen = await withTenant(database.pool, tenantA, async (tx) => {
    const { rows } = await tx.query<{ public_id: string }>('SELECT public_id FROM api_keys')
    return rows.map((row) => row.public_id)
  })
  expect(seen).toContain(a.id)
  expect(seen).not.toContain(b.id)
  expect(seen).not.toContain(operator.keyId)
  const crossing = withTenant(database.pool, tenantA, (tx) =>
    tx.query("INSERT INTO api_keys VALUES ($1, 'x', $2, true, '{}')", [tenantB, Buffer.alloc(32)]),
  )
  await expect(crossing).rejects.toThrow(/row-level security/)
  const outside = openPool(database.ownerUrl, 1, () => undefined)
  expect((await outside.query('SELECT * FROM api_keys')).rows).toEqual([])
  await outside.end()
})

/** A key with the public id of another and a valid checksum. */
function forgedKey(publicId: string): string {
  const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
  const value = [...publicId].reduce((sum, digit) => sum * 62n + BigInt(digits.indexOf(digit)), 0n)
  const id = Buffer.alloc(8)
  id.writeBigUInt64BE(value)
  const forged = generateKey((size) => (size === 8 ? id : randomBytes(size)))
  expect(forged.publicId).toBe(publicId)
  return forged.key
}
