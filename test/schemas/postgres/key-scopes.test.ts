import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { schemaFile } from '../../../schemas/files.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

const OWNER = `owner_${randomBytes(6).toString('hex')}`
const HASH = Buffer.alloc(32)
const CUSTOMER = '01890a5d-ac96-774b-bcce-b302099a8057'
let database: TestDatabase
let owner: pg.Client
let a: number
let b: number

/** The table and its function as 0001-access.sql made them, owned by somebody who is no superuser. */
const BEFORE = `
  DROP FUNCTION find_scoped_api_key;
  ALTER TABLE api_keys DROP COLUMN scope_customer_id, DROP COLUMN scope_subjects;
  GRANT UPDATE ON api_keys TO tallyline_app;
  CREATE ROLE ${OWNER};
  GRANT ALL ON SCHEMA public TO ${OWNER};
  GRANT SELECT ON tenants TO ${OWNER};
  GRANT REFERENCES ON customers TO ${OWNER};
  ALTER TABLE api_keys OWNER TO ${OWNER};
  ALTER FUNCTION find_api_key(text) OWNER TO ${OWNER};
  CREATE POLICY other_owner_rows ON api_keys TO ${OWNER} USING (true) WITH CHECK (true);
  CREATE POLICY other_owner_rows ON tenants TO ${OWNER} USING (true);
  INSERT INTO api_keys (tenant_id, public_id, secret_sha256, operator, permissions)
  VALUES (1, 'older', decode(repeat('00', 32), 'hex'), false, '{billing:usage:create}');
`

beforeAll(async () => {
  database = await createTestDatabase()
  a = await database.createTenant('a')
  b = await database.createTenant('b')
  owner = new pg.Client({ connectionString: database.ownerUrl })
  await owner.connect()
  await owner.query(BEFORE)
  await owner.query(`SET ROLE ${OWNER}`)
  await owner.query(schemaFile('postgres/0011-key-scopes.sql'))
  await owner.query('RESET ROLE')
  await withTenant(database.pool, a, (tx) =>
    tx.query(
      `INSERT INTO customers (tenant_id, id, external_key, currency, timezone, created_at)
       VALUES ($1, $2, 'acme', 'USD', 'UTC', now())`,
      [a, CUSTOMER],
    ),
  )
})
afterAll(async () => {
  await owner.query(`DROP OWNED BY ${OWNER} CASCADE; DROP ROLE ${OWNER}`)
  await owner.end()
  await database.drop()
})

type Key = { id: string; tenant?: number; operator?: boolean; customer?: string; subjects?: (string | null)[] }
const insert = ({ id, tenant = a, operator = false, customer, subjects }: Key) =>
  withTenant(database.pool, tenant, (tx) =>
    tx.query(
      `INSERT INTO api_keys (tenant_id, public_id, secret_sha256, operator, permissions, scope_customer_id, scope_subjects)
       VALUES ($1, $2, $3, $4, '{billing:usage:read}', $5, $6)`,
      [tenant, id, HASH, operator, customer ?? null, subjects ?? null],
    ),
  )
const find = async (by: string, id: string) => (await database.pool.query(`SELECT * FROM ${by}($1)`, [id])).rows

describe('0011-key-scopes.sql (HC-8)', () => {
  test('a key from before sees everything, found by old processes and new ones', async () => {
    const found = {
      tenant_id: a,
      slug: 'a',
      public_id: 'older',
      operator: false,
      permissions: ['billing:usage:create'],
    }
    expect(await find('find_api_key', 'older')).toMatchObject([found])
    const everything = { ...found, scope_customer_id: null, scope_subjects: null }
    expect(await find('find_scoped_api_key', 'older')).toMatchObject([everything])
  })

  test('a process from before scopes does not find a key that has one: to it the key would see everything', async () => {
    await insert({ id: 'of-acme', customer: CUSTOMER })
    await insert({ id: 'of-a-user', subjects: ['u-1', 'u-2'] })
    expect(await find('find_scoped_api_key', 'of-acme')).toMatchObject([{ scope_customer_id: CUSTOMER }])
    expect(await find('find_scoped_api_key', 'of-a-user')).toMatchObject([{ scope_subjects: ['u-1', 'u-2'] }])
    for (const id of ['of-acme', 'of-a-user']) expect(await find('find_api_key', id)).toEqual([])
  })

  test('no row holds two scopes, an empty one, one for an operator, or the customer of another tenant', async () => {
    const refused: [Key, string][] = [
      [{ id: 'x', customer: CUSTOMER, subjects: ['u-1'] }, 'api_keys_one_scope'],
      [{ id: 'x', subjects: [] }, 'api_keys_scope_subjects'],
      [{ id: 'x', subjects: ['u-1', null] }, 'api_keys_scope_subjects'],
      [{ id: 'x', subjects: Array.from({ length: 101 }, (_, n) => `u-${n}`) }, 'api_keys_scope_subjects'],
      [{ id: 'x', operator: true, subjects: ['u-1'] }, 'api_keys_operators_see_all'],
      [{ id: 'x', operator: true, customer: CUSTOMER }, 'api_keys_operators_see_all'],
      [{ id: 'x', tenant: b, customer: CUSTOMER }, 'api_keys_tenant_id_scope_customer_id_fkey'],
    ]
    for (const [key, constraint] of refused) await expect(insert(key)).rejects.toMatchObject({ constraint })
  })

  test('a key can be revoked; its scope, permissions and secret never change', async () => {
    await insert({ id: 'kept', subjects: ['u-1'] })
    const update = (change: string) =>
      withTenant(database.pool, a, (tx) => tx.query(`UPDATE api_keys SET ${change} WHERE public_id = 'kept'`))
    for (const change of [
      'scope_subjects = NULL',
      "scope_subjects = '{u-2}'",
      "permissions = '{billing:usage:correct}'",
      'operator = true',
      'secret_sha256 = secret_sha256',
    ])
      await expect(update(change)).rejects.toMatchObject({ code: '42501' })
    expect(await update('revoked_at = now()')).toMatchObject({ rowCount: 1 })
    expect(await find('find_scoped_api_key', 'kept')).toEqual([])
  })
})
