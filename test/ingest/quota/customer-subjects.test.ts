import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { subjectsOfCustomers } from '../../../ingest/quota/customer-subjects.postgres.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createCustomer } from '../../support/customers.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

test('subjects of customers are those of the tenant alone; customers without any are left out', async () => {
  const { pool } = database
  const [tenant, other] = [await database.createTenant('one'), await database.createTenant('other')]
  const acme = await createCustomer(pool, tenant, 'acme', ['alice', 'bob'])
  const bare = await createCustomer(pool, tenant, 'bare', [])
  const duff = await createCustomer(pool, tenant, 'duff', ['carol'])
  const foreign = await createCustomer(pool, other, 'acme', ['alice'])
  const asked = [acme, bare, foreign, randomUUID()]
  const found = await withTenant(pool, tenant, (tx) => subjectsOfCustomers(tx, asked))
  expect([...found].map(([id, subjects]) => [id, subjects.toSorted()])).toEqual([[acme, ['alice', 'bob']]])
  expect(await withTenant(pool, tenant, (tx) => subjectsOfCustomers(tx, [duff]))).toEqual(new Map([[duff, ['carol']]]))
  expect(await withTenant(pool, tenant, (tx) => subjectsOfCustomers(tx, []))).toEqual(new Map())
})
