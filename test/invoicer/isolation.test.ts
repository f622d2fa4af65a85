import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createCoupon } from '../../invoicer/agreements/coupons/create-coupon.ts'
import { endDiscount } from '../../invoicer/agreements/coupons/end-discount.ts'
import { giveDiscount } from '../../invoicer/agreements/coupons/give-discount.ts'
import { changeCustomer } from '../../invoicer/agreements/customers/change-customer.ts'
import { createLegalEntity } from '../../invoicer/agreements/entities/create-legal-entity.ts'
import {
  changeInvoiceSettings,
  changeInvoiceTexts,
} from '../../invoicer/agreements/invoice-settings/change-settings.ts'
import { NO_TEXTS } from '../../invoicer/agreements/invoice-settings/texts.ts'
import { changeListing } from '../../invoicer/agreements/plans/listing.ts'
import { createProduct } from '../../invoicer/agreements/products/create-product.ts'
import { changeSubscription } from '../../invoicer/agreements/subscriptions/change-subscription.ts'
import { isDowngrade } from '../../invoicer/billing/is-downgrade.ts'
import { createItem } from '../../invoicer/billing/items/create-item.ts'
import { putThreshold } from '../../invoicer/billing/progressive/change-threshold.ts'
import { changeSettings } from '../../invoicer/billing/review/change-settings.ts'
import { openRun } from '../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../invoicer/billing/run/run-billing.ts'
import { createTaxRate } from '../../invoicer/billing/tax/create-tax-rate.ts'
import { createSchedule } from '../../invoicer/collection/credits/create-schedule.ts'
import { grantCredit } from '../../invoicer/collection/credits/grant-credit.ts'
import { putRule } from '../../invoicer/collection/top-ups/change-rule.ts'
import { changeInvoice } from '../../invoicer/collection/voids/change-invoice.ts'
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts'
import { createWorld, NOVEMBER, TOO_MUCH, type World } from './support/world.ts'

const TABLES = [
  'customers',
  'customer_subjects',
  'plans',
  'plan_charges',
  'products',
  'plan_listings',
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
  'credit_schedules',
  'credit_top_up_rules',
  'credit_purchases',
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
  'billing_run_drafts',
  'billing_run_settings',
  'coupons',
  'discounts',
  'discount_ends',
  'invoice_discounts',
  'invoice_changes',
  'periods_to_bill_again',
  'carried_amounts',
  'invoice_settings',
  'invoice_texts',
  'issued_texts',
  'invoice_parts',
  'one_off_invoices',
  'commitment_draws',
  'progressive_billing',
  'progressive_invoices',
  'subscription_drafts',
]
/** What is agreed may be taken back; its history says that it was there. */
const KEPT = TABLES.filter((table) => table !== 'progressive_billing')
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
  'billing_run_drafts',
  'discounts',
  'discount_ends',
  'invoice_discounts',
  'invoice_changes',
  'issued_texts',
  'commitment_draws',
  'one_off_invoices',
  'progressive_invoices',
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
  const monthly = { ...credit, cadence: { interval: 'month', every: 1 } as const, startMs: null, untilMs: null }
  const terms = { expires: 'never' as const, expiresAfterDays: null, scope: null, rollover: null, grants: 1 }
  await one.transact(one.tenantId, (tx) => createSchedule(tx, { ...monthly, ...terms }, one))
  const rule = { customer: 'b', threshold: '1.00', amount: '1.00', mostPurchases: 1, per: 'day' as const, priority: 0 }
  await one.transact(one.tenantId, (tx) => putRule(tx, { ...rule, expiresAfterDays: null, scope: null }, one, 'manual'))
  one.use('a', 'context_tokens', '1000000', NOVEMBER)
  const off = { percent: '10', amount: null, currency: null, cycles: null, charges: null }
  const coupon = { key: 'tenth', name: 'Tenth', ...off, redeemByMs: null, maxRedemptions: null }
  await one.transact(one.tenantId, (tx) => createCoupon(tx, coupon, one))
  const discount = { externalKey: 'd', coupon: 'tenth', to: { subscription: 'a' }, startMs: NOVEMBER }
  await one.transact(one.tenantId, (tx) => giveDiscount(tx, discount, one))
  await one.run()
  await one.transact(one.tenantId, (tx) => endDiscount(tx, 'd', null, one))
  // What was billed turns out to be less.
  one.use('a', 'context_tokens', '-500000', NOVEMBER, one.clock.nowMs + 1)
  one.clock.nowMs += 1_000
  await one.run()
  // What came late cannot be billed.
  one.use('a', 'context_tokens', TOO_MUCH, NOVEMBER, one.clock.nowMs + 1)
  one.clock.nowMs += 1_000
  await one.run()
  await one.transact(one.tenantId, (tx) => changeSettings(tx, { rules: { first_invoice_above: '1' } }, 'key', one))
  const dry = await one.transact(one.tenantId, (tx) => openRun(tx, { asOfMs: null, dryRun: true }, one))
  await runBilling(one.deps, async () => undefined, one.tenantId, dry.id)
  const item = { externalKey: 'i', customer: 'a', subscription: null, description: 'I', currency: null, amount: '1.00' }
  await one.transact(one.tenantId, (tx) => createItem(tx, { ...item, quantity: null, unitAmount: null }, one))
  await one.transact(one.tenantId, async (tx) => {
    await changeInvoiceSettings(tx, { zeroInvoices: 'issue', leastDue: { USD: '100.00' } }, one)
    await changeInvoiceTexts(tx, { kind: 'tenant' }, { ...NO_TEXTS, memo: 'M' }, one)
  })
  const usage = {
    key: 'u',
    name: 'U',
    meter: 'context_tokens',
    price: { model: 'per_unit', unit_amount: '1' },
  } as const
  await one.plan({ key: 'usage', charges: [usage] })
  await one.subscribe('nothing', { plan: 'usage' })
  await one.subscribe('little')
  await one.transact(one.tenantId, (tx) => changeCustomer(tx, 'little', { consolidate: true }, one))
  await one.run()
  const nothing = (await one.invoices()).find(({ customer }) => customer.externalKey === 'nothing')!
  const change = { invoiceId: nothing.id, change: 'reissue', idempotencyKey: 'k', reason: 'r' } as const
  await one.transact(one.tenantId, (tx) => changeInvoice(tx, change, one))
  const tax = {
    enabled: true,
    engine: 'embedded',
    rounding: 'per_line',
    inclusive: false,
    euConsumers: 'destination',
  } as const
  const registrations = [{ country: 'GR', number: '1' }]
  const seller = { key: 'e', name: 'E', country: 'GR', address: null, numberPrefix: 'E', registrations, tax }
  await one.transact(one.tenantId, (tx) => createLegalEntity(tx, { ...seller, defaultCurrency: null }, one))
  const rate = { country: 'GR', kind: 'vat', ratePercent: '24', from: '2023-01-01', until: null }
  await one.transact(one.tenantId, (tx) => createTaxRate(tx, rate, one))
  await one.subscribe('c', { endMs: null })
  const pause = { pause: 'now', bill: true } as const
  await one.transact(one.tenantId, (tx) => changeSubscription(tx, 'c', pause, 'key', { ...one, isDowngrade }))
  await one.transact(one.tenantId, async (tx) => {
    await createProduct(tx, { key: 'p', name: 'P', description: null, metadata: {}, prices: {} }, one)
    await changeListing(tx, 'usage', { product: 'p' }, one)
    // One row each, as their parts of billing leave them.
    await tx.query(`INSERT INTO one_off_invoices (tenant_id, idempotency_key, request, invoice_id)
      SELECT app_tenant(), 'k', '{}', id FROM invoices LIMIT 1`)
    await tx.query(`INSERT INTO progressive_invoices (tenant_id, invoice_id, subscription_id, period_start, ordinal, revision)
      SELECT app_tenant(), id, subscription_id, period_start, 1, 0 FROM invoices WHERE subscription_id IS NOT NULL LIMIT 1`)
    await tx.query(`INSERT INTO commitment_draws (tenant_id, subscription_id, ordinal, plan_id, charge_key, window_start,
        window_end, period_start, period_end, base_minor, amount_minor, rest_minor, committed_minor, served_until,
        revision, known_before, is_void)
      SELECT app_tenant(), id, 1, plan_id, 'k', start_at, start_at + '1 day', start_at, start_at + '1 day', 0, 0, 0, 0, start_at,
        0, start_at, false
      FROM subscriptions LIMIT 1`)
    await tx.query(`INSERT INTO subscription_drafts (tenant_id, id, external_key, customer_id, content, state, created_at)
      SELECT app_tenant(), id, 'draft', id, '{}', 'draft', created_at FROM customers LIMIT 1`)
    await putThreshold(tx, { subscription: 'c', threshold: '1.00' }, one)
  })
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

  test.each(KEPT)('%s keeps its rows: nothing is deleted', async (table) => {
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
