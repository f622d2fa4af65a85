import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLegalEntity } from '../../invoicer/agreements/entities/create-legal-entity.ts'
import { changeSubscription } from '../../invoicer/agreements/subscriptions/change-subscription.ts'
import { isDowngrade } from '../../invoicer/billing/is-downgrade.ts'
import { createItem } from '../../invoicer/billing/items/create-item.ts'
import { createTaxRate } from '../../invoicer/billing/tax/create-tax-rate.ts'
import { grantCredit } from '../../invoicer/collection/credits/grant-credit.ts'
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts'
import { createWorld, NOVEMBER, TOO_MUCH, type World } from './support/world.ts'

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
  'credit_grants',
  'credit_uses',
  'subscription_phases',
  'subscription_changes',
  'legal_entities',
  'tax_rates',
  'late_usage_left',
  'usage_adjustments',
  'invoice_items',
  'credit_note_numbers',
  'credit_notes',
  'credit_note_lines',
  'customer_balances',
  'balance_entries',
]
const APPEND_ONLY = [
  'customers',
  'plans',
  'plan_charges',
  'parked_subscriptions',
  'invoice_lines',
  'billed_usage',
  'billing_events',
  'credit_uses',
  'subscription_phases',
  'subscription_changes',
  'tax_rates',
  'usage_adjustments',
  'credit_notes',
  'credit_note_lines',
  'balance_entries',
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
  one.use('b', 'context_tokens', TOO_MUCH, NOVEMBER)
  const credit = { externalKey: 'c', customer: 'a', name: null, amount: '1.00', priority: 0, expiresAtMs: null }
  await one.transact(one.tenantId, (tx) => grantCredit(tx, credit, one))
  one.use('a', 'context_tokens', '1000000', NOVEMBER)
  await one.run()
  // What was billed turns out to be less.
  one.use('a', 'context_tokens', '-500000', NOVEMBER, one.clock.nowMs + 1)
  one.clock.nowMs += 1_000
  await one.run()
  // What came late cannot be billed.
  one.use('a', 'context_tokens', TOO_MUCH, NOVEMBER, one.clock.nowMs + 1)
  one.clock.nowMs += 1_000
  await one.run()
  const item = { externalKey: 'i', customer: 'a', subscription: null, description: 'I', currency: null, amount: '1.00' }
  await one.transact(one.tenantId, (tx) => createItem(tx, { ...item, quantity: null, unitAmount: null }, one))
  const tax = { enabled: true, rounding: 'per_line', inclusive: false, euConsumers: 'destination' } as const
  const registrations = [{ country: 'GR', number: '1' }]
  const seller = { key: 'e', name: 'E', country: 'GR', address: null, numberPrefix: 'E', registrations, tax }
  await one.transact(one.tenantId, (tx) => createLegalEntity(tx, { ...seller, defaultCurrency: null }, one))
  const rate = { country: 'GR', kind: 'vat', ratePercent: '24', from: '2023-01-01', until: null }
  await one.transact(one.tenantId, (tx) => createTaxRate(tx, rate, one))
  await one.subscribe('c', { endMs: null })
  const pause = { pause: 'now', bill: true } as const
  await one.transact(one.tenantId, (tx) => changeSubscription(tx, 'c', pause, 'key', { ...one, isDowngrade }))
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
