import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts'
import { createWorld, NOVEMBER, type World } from './support/world.ts'

const TABLES = [
  'customers',
  'customer_subjects',
  'plans',
  'plan_charges',
  'subscriptions',
  'billing_runs',
  'parked_subscriptions',
  'invoice_numbers',
  'invoices',
  'invoice_lines',
  'billed_usage',
  'payments',
  'outbox',
  'billing_events',
]
const APPEND_ONLY = [
  'customers',
  'plans',
  'plan_charges',
  'parked_subscriptions',
  'invoice_lines',
  'billed_usage',
  'billing_events',
]

let database: TestDatabase
let one: World
let two: World
beforeAll(async () => {
  database = await createTestDatabase()
  one = await createWorld(database, 'one')
  two = await createWorld(database, 'two')
  await one.plan()
  await one.subscribe('a')
  await one.subscribe('b')
  one.use('b', 'context_tokens', '-100000000', NOVEMBER)
  await one.run()
})
afterAll(() => database.drop())

const inside = (world: World, sql: string, values: unknown[] = []) =>
  world.transact(world.tenantId, (tx) => tx.query(sql, values))

describe('tenants in the tables of billing (EPIC-5)', () => {
  test.each(TABLES)('%s shows a tenant its own rows only, and nothing outside a tenant', async (table) => {
    expect((await inside(one, `SELECT tenant_id FROM ${table}`)).rows.length).toBeGreaterThan(0)
    expect((await inside(two, `SELECT tenant_id FROM ${table}`)).rows).toEqual([])
    expect((await database.pool.query(`SELECT tenant_id FROM ${table}`)).rows).toEqual([])
  })

  test.each(TABLES)('%s refuses a row under the name of another tenant', async (table) => {
    const { rows } = await inside(one, `SELECT to_jsonb(t) AS row FROM ${table} t LIMIT 1`)
    const steal = `INSERT INTO ${table} SELECT * FROM jsonb_populate_record(NULL::${table}, $1)`
    await expect(inside(two, steal, [JSON.stringify(rows[0].row)])).rejects.toThrow('row-level security')
  })

  test('a subscription cannot point at the customer of another tenant, whose id is known', async () => {
    const { rows } = await inside(one, 'SELECT id FROM customers LIMIT 1')
    await two.plan()
    const cross = `INSERT INTO subscriptions (tenant_id, id, external_key, customer_id, plan_id, state, start_at, created_at)
      SELECT app_tenant(), $1, 'x', $2, id, 'active', '2023-11-01Z', now() FROM plans`
    await expect(inside(two, cross, [two.newId(), rows[0].id])).rejects.toThrow('foreign key')
  })

  test.each(TABLES)('%s keeps its rows: nothing is deleted', async (table) => {
    await expect(inside(one, `DELETE FROM ${table}`)).rejects.toThrow('permission denied')
  })

  test.each(APPEND_ONLY)('%s is append-only', async (table) => {
    await expect(inside(one, `UPDATE ${table} SET tenant_id = tenant_id`)).rejects.toThrow('permission denied')
  })
})

describe('an issued invoice', () => {
  test('keeps its amounts, number and date', async () => {
    await expect(inside(one, 'UPDATE invoices SET total_minor = 0')).rejects.toThrow('permission denied')
    await expect(inside(one, 'UPDATE invoices SET number = number + 1')).rejects.toThrow('never change')
    await expect(inside(one, 'UPDATE invoices SET finalised_at = now()')).rejects.toThrow('never change')
  })
})
