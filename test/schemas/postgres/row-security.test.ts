import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listTenants, withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase
let a: number
let b: number

beforeAll(async () => {
  database = await createTestDatabase()
  a = await database.createTenant('a')
  b = await database.createTenant('b')
})
afterAll(() => database.drop())

const tables = async () =>
  (
    await database.pool.query<{ name: string; tenant: boolean; security: boolean; forced: boolean; policies: string }>(
      `SELECT relname AS name, relrowsecurity AS security, relforcerowsecurity AS forced,
         EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant_id') AS tenant,
         (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) AS policies
       FROM pg_class c WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace ORDER BY relname`,
    )
  ).rows

describe('row-level security, from the first migration (invariant 7, EPIC-5)', () => {
  test('is forced on every table that has a tenant, and only the lists of migrations and of logs have none', async () => {
    const all = await tables()
    expect(all.length).toBeGreaterThan(15)
    expect(
      all
        .filter(({ tenant }) => !tenant)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['event_logs', 'migrations'])
    for (const one of all.filter(({ tenant }) => tenant))
      expect(one).toMatchObject({ security: true, forced: true, policies: expect.stringMatching(/^[1-9]/) })
  })

  test('holds for the product: its role owns nothing and cannot go around it', async () => {
    const { rows } = await database.pool.query(
      `SELECT current_user AS me, rolsuper, rolbypassrls, rolcreaterole,
         (SELECT count(*)::int FROM pg_class WHERE relowner = r.oid) AS owned
       FROM pg_roles r WHERE rolname = current_user`,
    )
    expect(rows).toEqual([
      { me: 'tallyline_app', rolsuper: false, rolbypassrls: false, rolcreaterole: false, owned: 0 },
    ])
    await expect(database.pool.query('SELECT * FROM migrations')).rejects.toMatchObject({ code: '42501' })
  })

  test('every table shows a tenant nothing of another, and without a tenant nothing at all', async () => {
    await withTenant(database.pool, b, (tx) =>
      tx.query("INSERT INTO event_types VALUES (app_tenant(), 'x', 1, '{}', now())"),
    )
    for (const { name } of (await tables()).filter(({ tenant }) => tenant)) {
      const seen = `SELECT count(*)::int AS n FROM ${name} WHERE tenant_id IS DISTINCT FROM $1`
      const ofOthers = await withTenant(database.pool, a, (tx) => tx.query(seen, [a]))
      expect([name, ofOthers.rows]).toEqual([name, [{ n: 0 }]])
      const ofAnybody = await database.pool.query(`SELECT count(*)::int AS n FROM ${name}`)
      expect([name, ofAnybody.rows]).toEqual([name, [{ n: 0 }]])
    }
    const own = await withTenant(database.pool, b, (tx) => tx.query('SELECT type FROM event_types'))
    expect(own.rows).toEqual([{ type: 'x' }])
  })

  test('nothing but tenants’ names is known across them', async () => {
    expect(await listTenants(database.pool)).toEqual([
      { tenantId: a, slug: 'a' },
      { tenantId: b, slug: 'b' },
    ])
  })
})

describe('withTenant', () => {
  const tenantOf = async () => (await database.pool.query('SELECT app_tenant() AS tenant')).rows

  test('leaves no tenant behind on the connection, after success and after failure', async () => {
    await withTenant(database.pool, a, async () => undefined)
    await expect(withTenant(database.pool, a, (tx) => tx.query('SELECT 1/0'))).rejects.toMatchObject({ code: '22012' })
    for (let n = 0; n < 10; n++) expect(await tenantOf()).toEqual([{ tenant: null }])
  })

  test('is one transaction: what fails leaves nothing', async () => {
    const work = withTenant(database.pool, a, async (tx) => {
      await tx.query("INSERT INTO event_types VALUES (app_tenant(), 'half', 1, '{}', now())")
      throw new Error('half-way')
    })
    await expect(work).rejects.toThrow('half-way')
    const { rows } = await withTenant(database.pool, a, (tx) => tx.query('SELECT type FROM event_types'))
    expect(rows).toEqual([])
  })

  test('at once, for many: each sees its own', async () => {
    const seen = await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        withTenant(database.pool, n % 2 === 0 ? a : b, async (tx) => {
          await tx.query('SELECT pg_sleep(0.001)')
          return (await tx.query<{ tenant: number }>('SELECT app_tenant() AS tenant')).rows[0]?.tenant
        }),
      ),
    )
    expect(seen).toEqual(seen.map((_, n) => (n % 2 === 0 ? a : b)))
  })

  test('a transaction that was ended by the server is an error, and its connection is not used again', async () => {
    const work = withTenant(database.pool, a, async (tx) => {
      const { rows } = await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
      tx.on('error', () => undefined)
      await database.pool.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid])
      await tx.query('SELECT 1')
    })
    await expect(work).rejects.toThrow()
    for (let n = 0; n < 10; n++) expect(await tenantOf()).toEqual([{ tenant: null }])
  })
})
