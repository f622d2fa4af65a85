import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAuthenticator } from '../../../ops/access/authenticate.ts'
import { createKey } from '../../../ops/access/create-key.ts'
import { listenForConfig, readPayload } from '../../../ops/host/config-listener.postgres.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

test('a payload that cannot be read means that anything may have changed', () => {
  expect(readPayload('api_keys:12')).toEqual(['api_keys', 12])
  for (const payload of [undefined, '', 'api_keys', 'api_keys:', ':1', 'a:b:c'])
    expect(readPayload(payload)).toEqual(['*', 0])
})

test('changes are reported; after a broken connection it listens again and reports that anything may have changed', async () => {
  const changes: string[] = []
  const errors: Error[] = []
  const listener = listenForConfig(
    database.ownerUrl,
    (table, tenantId) => changes.push(`${table}:${tenantId}`),
    (error) => errors.push(error),
  )
  await expect.poll(() => changes).toEqual(['*:0'])
  const tenantId = await database.createTenant('listener')
  await insertKey(tenantId, 'one')
  await expect.poll(() => changes.slice(1)).toEqual([`api_keys:${tenantId}`])

  const owner = new pg.Client({ connectionString: database.ownerUrl })
  await owner.connect()
  const { rowCount } = await owner.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name = 'tallyline config listener' AND datname = current_database()`,
  )
  expect(rowCount).toBe(1)
  await owner.end()
  await expect.poll(() => changes.slice(2)).toEqual(['*:0'])
  expect(errors.length).toBe(1)
  await insertKey(tenantId, 'two')
  await expect.poll(() => changes.slice(3)).toEqual([`api_keys:${tenantId}`])

  await listener.stop()
  await insertKey(tenantId, 'three')
  expect(changes).toHaveLength(4)
  expect(errors.length).toBe(1)
})

test('wired to the authenticator, a revocation ends a cached key without waiting for the refresh', async () => {
  const authenticator = createAuthenticator({ pool: database.pool, now: () => 0 })
  let ready = false
  const listener = listenForConfig(
    database.ownerUrl,
    (table, tenantId) => {
      ready = true
      if (table === '*') authenticator.invalidate()
      if (table === 'api_keys') authenticator.invalidate(tenantId)
    },
    () => undefined,
  )
  await expect.poll(() => ready).toBe(true)
  const tenantId = await database.createTenant('wired')
  const grant = { tenant: 'wired', permissions: ['billing:usage:read'], grantor: 'owner' } as const
  const { key, keyId } = await createKey(grant, database.pool, randomBytes)
  const header = `Bearer ${key}`
  expect(await authenticator.authenticate(header)).toMatchObject({ tenantId })
  await withTenant(database.pool, tenantId, (tx) =>
    tx.query('UPDATE api_keys SET revoked_at = now() WHERE public_id = $1', [keyId]),
  )
  await expect.poll(() => authenticator.authenticate(header)).toBeUndefined()
  await listener.stop()
})

test('it keeps trying while there is no server, and tries no more once it is told to stop', async () => {
  const errors: Error[] = []
  const listener = listenForConfig(
    'postgres://nobody@127.0.0.1:1/none',
    () => undefined,
    (error) => errors.push(error),
  )
  await expect.poll(() => errors.length).toBeGreaterThan(2)
  await listener.stop()
  const afterStop = errors.length
  await new Promise((later) => setTimeout(later, 300))
  expect(errors).toHaveLength(afterStop)
})

async function insertKey(tenantId: number, publicId: string): Promise<void> {
  await withTenant(database.pool, tenantId, (tx) =>
    tx.query("INSERT INTO api_keys VALUES ($1, $2, $3, false, '{}')", [tenantId, publicId, Buffer.alloc(32)]),
  )
}
