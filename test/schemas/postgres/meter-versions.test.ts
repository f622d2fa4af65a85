import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { schemaFile } from '../../../schemas/files.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

const OWNER = `owner_${randomBytes(6).toString('hex')}`
let database: TestDatabase
let owner: pg.Client

beforeAll(async () => {
  database = await createTestDatabase()
  owner = new pg.Client({ connectionString: database.ownerUrl })
  await owner.connect()
})
afterAll(async () => {
  await owner.query('RESET ROLE')
  await owner.query(`DROP OWNED BY ${OWNER} CASCADE; DROP ROLE ${OWNER}`)
  await owner.end()
  await database.drop()
})

/** The table as 0002-metering.sql made it, owned by somebody who is no superuser. */
const BEFORE = `
  DROP TABLE meter_versions;
  ALTER TABLE meters DROP COLUMN window_size, DROP COLUMN percentile, DROP COLUMN archived_at,
    DROP CONSTRAINT meters_aggregation_check;
  ALTER TABLE meters ADD CONSTRAINT meters_aggregation_check CHECK (aggregation IN ('sum', 'count')),
    ADD CONSTRAINT meters_check CHECK (aggregation = 'count' OR cardinality(value_path) > 0);
  CREATE ROLE ${OWNER};
  GRANT ALL ON SCHEMA public TO ${OWNER};
  ALTER TABLE meters OWNER TO ${OWNER};
`

test('meters of before become first versions, for an owner whom row-level security binds, too', async () => {
  const tenants = [await database.createTenant('one'), await database.createTenant('two')]
  await owner.query(BEFORE)
  for (const tenant of tenants) {
    await owner.query(
      `INSERT INTO meters (tenant_id, slug, event_type, aggregation, value_path, group_by, revision, updated_at)
       VALUES ($1, 'tokens', 'llm', 'sum', '{usage,tokens}', '[]', 1, now()), ($1, 'calls', 'llm', 'count', '{}', '[]', 2, now())`,
      [tenant],
    )
  }
  await owner.query(`SET ROLE ${OWNER}`)
  expect((await owner.query('SELECT slug FROM meters')).rows).toEqual([])
  await owner.query(schemaFile('postgres/0006-meters.sql'))
  // The security holds again, and binds the new table as well.
  expect((await owner.query('SELECT slug FROM meters')).rows).toEqual([])
  expect((await owner.query('SELECT slug FROM meter_versions')).rows).toEqual([])
  await owner.query('RESET ROLE')
  const { rows } = await owner.query(
    `SELECT tenant_id, slug, version, effective_from, event_type, value, filter, revision
     FROM meter_versions ORDER BY tenant_id, slug`,
  )
  const shared = { version: 1, effective_from: new Date(0), event_type: 'llm', filter: null }
  expect(rows).toEqual(
    tenants.flatMap((tenant_id) => [
      { tenant_id, slug: 'calls', value: null, revision: 2, ...shared },
      { tenant_id, slug: 'tokens', value: 'usage.tokens', revision: 1, ...shared },
    ]),
  )
})
