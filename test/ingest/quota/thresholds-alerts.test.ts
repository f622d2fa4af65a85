import { afterAll, beforeAll, expect, test } from 'vitest'
import { listAlerts } from '../../../ingest/quota/thresholds/alerts.postgres.ts'
import { type TenantTransaction, withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Compared as texts, or joined, every alert of a page would read all customers of the tenant. */
test('the customers of a page of alerts are found by their key', async () => {
  const tenant = await database.createTenant('alerts')
  const plan = await withTenant(database.pool, tenant, async (tx) => {
    let asked: { text: string; values: unknown[] } = { text: '', values: [] }
    const query = (text: string, values: unknown[]) => {
      asked = { text, values }
      return tx.query(text, values)
    }
    await listAlerts({ query } as unknown as TenantTransaction, { limit: 10 }, 'everything', undefined)
    // Among so many that another index of theirs is no answer.
    await tx.query(
      `INSERT INTO customers (tenant_id, id, external_key, currency, timezone, created_at)
       SELECT app_tenant(), gen_random_uuid(), n::text, 'USD', 'UTC', now() FROM generate_series(1, 2000) AS n`,
    )
    // Whether it can be used: small tables are read whole.
    for (const way of ['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin'])
      await tx.query(`SET LOCAL enable_${way} = off`)
    return (await tx.query<{ 'QUERY PLAN': string }>(`EXPLAIN ${asked.text}`, asked.values)).rows
  })
  const text = plan.map((row) => row['QUERY PLAN']).join('\n')
  expect(text).toMatch(/Index Scan using customers_pkey on customers.*\n.*Index Cond: .*\(id = CASE/)
})
