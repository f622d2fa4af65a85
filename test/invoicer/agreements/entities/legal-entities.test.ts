import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createLegalEntity } from '../../../../invoicer/agreements/entities/create-legal-entity.ts'
import {
  insertLegalEntity,
  listLegalEntities,
} from '../../../../invoicer/agreements/entities/legal-entities.postgres.ts'
import type { DueSubscription } from '../../../../invoicer/billing/due.ts'
import { insertNumbered } from '../../../../invoicer/billing/invoices/issue.postgres.ts'
import type { NewInvoice } from '../../../../invoicer/billing/invoices/rated-invoice.ts'
import { listDue } from '../../../../invoicer/billing/run/due.postgres.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import {
  AFTER,
  HELLAS,
  HOUR_MS,
  inGreece,
  invoicesOf,
  openShop,
  parkedOf,
  type Shop,
  sell,
  shown,
} from '../../billing/tax/shop.ts'
import { type Answer, buildDoors } from '../../support/doors.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, storedPlan } from '../../support/world.ts'

let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** A tenant of its own. */
function open(entity?: object): Promise<Shop> {
  worlds += 1
  return openShop(database, `tax-${worlds}`, entity)
}

describe('legal entities', () => {
  test('each has its own numbers without a gap; the first that was made is the default, whatever the clocks said', async () => {
    const shop = await open({ tax: { enabled: false } })
    shop.clock.nowMs -= 24 * HOUR_MS
    await shop.call('POST', '/legal-entities', { ...HELLAS, key: 'north', number_prefix: 'N-1' })
    shop.clock.nowMs += 24 * HOUR_MS
    for (let one = 0; one < 12; one += 1) {
      await sell(shop, `c${one}`, '100', one % 3 === 0 ? { ...inGreece, legal_entity: 'north' } : {})
    }
    await Promise.all([shop.run(AFTER), shop.run(AFTER)])
    const invoices = await invoicesOf(shop)
    expect(invoices).toHaveLength(12)
    const numbersOf = (key: string) =>
      invoices.flatMap(({ legal_entity, number }) => (legal_entity === key ? [number] : [])).sort()
    expect(numbersOf('north')).toEqual([1, 2, 3, 4].map((one) => `N-1-00000${one}`))
    expect(numbersOf('hellas')).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((one) => `HELLAS-00000${one}`))
    const taxes = invoices.map(({ legal_entity, tax, lines }) => [legal_entity, tax, lines[0]?.tax?.amount ?? null])
    expect(new Set(taxes.map((one) => JSON.stringify(one)))).toEqual(
      new Set(['["north","0.24","0.24"]', '["hellas","0.00",null]']),
    )
  })

  test('runs that issue for the same ones at once wait for each other, and leave no gap', async () => {
    const shop = await open()
    await shop.call('POST', '/legal-entities', { ...HELLAS, key: 'north', number_prefix: 'N-1' })
    const { rows } = await shop.transact(shop.tenantId, (tx) =>
      tx.query<{ id: string; key: string }>('SELECT id, key FROM legal_entities ORDER BY key'),
    )
    const [hellas, north] = rows.map(({ id }) => id)
    const { id: runId } = await shop.transact(shop.tenantId, (tx) => openRun(tx, { asOfMs: AFTER }, shop))
    const rated = async (names: string[], sellers: (string | undefined)[]) => {
      for (const name of names) await shop.subscribe(name)
      return shop.transact(shop.tenantId, async (tx) => {
        const due = await listDue(tx, AFTER, runId, { after: null, limit: 100 })
        return sellers.map((legalEntityId, index) =>
          newInvoice(shop, due.find(({ customerKey }) => customerKey === names[index])!, legalEntityId),
        )
      })
    }
    const first = await rated(['a', 'b', 'c'], [hellas, north, undefined])
    const second = await rated(['d', 'e', 'f'], [north, hellas, undefined])
    const issue = (invoices: NewInvoice[], behind: () => Promise<void>) =>
      shop.transact(shop.tenantId, async (tx) => {
        await insertNumbered(tx, runId, invoices, new Map(), new Map(), AFTER)
        await behind()
      })
    let other: Promise<void> | undefined
    await issue(first, async () => {
      other = issue(second, async () => undefined)
      await somebodyWaits()
    })
    await other
    await expect(issue(await rated(['g'], [hellas]), () => Promise.reject(new Error('It crashed.')))).rejects.toThrow()
    await issue(await rated(['h'], [hellas]), async () => undefined)
    const numbers = (await invoicesOf(shop)).map(({ customer, number }) => `${customer.external_key} ${number}`)
    expect(numbers.sort()).toEqual([
      ...['a HELLAS-000001', 'b N-1-000001', 'c INV-000001', 'd N-1-000002', 'e HELLAS-000002', 'f INV-000002'],
      'h HELLAS-000003',
    ])
  })

  test('of two that are made at once one is the default', async () => {
    worlds += 1
    const world = await createWorld(database, `tax-${worlds}`)
    const doors = buildDoors(database, { now: world.now, newId: world.newId })
    let other: Promise<Answer> | undefined
    const made = await world.transact(world.tenantId, async (tx) => {
      const tax = {
        enabled: false,
        engine: 'embedded',
        rounding: 'per_line',
        inclusive: false,
        euConsumers: 'destination',
      } as const
      const rest = { address: null, defaultCurrency: null, registrations: [], tax }
      const first = { key: 'one', name: 'One', country: 'GR', numberPrefix: 'ONE', ...rest }
      const { created } = await createLegalEntity(tx, first, world)
      other = doors.call(world.tenantId, 'POST', '/legal-entities', HELLAS)
      await somebodyWaits()
      return created
    })
    expect([made, (await other)?.status]).toEqual([true, 201])
    const { rows } = await world.transact(world.tenantId, (tx) =>
      tx.query('SELECT key, is_default FROM legal_entities ORDER BY key'),
    )
    expect(rows).toEqual([
      { key: 'hellas', is_default: false },
      { key: 'one', is_default: true },
    ])
  })

  test('has no prefix of credit notes, which the database refuses too', async () => {
    const shop = await open()
    const [stored] = await shop.transact(shop.tenantId, (tx) => listLegalEntities(tx, { after: null, limit: 1 }))
    const insert = (numberPrefix: string) => {
      const entity = { ...stored!, id: shop.newId(), key: numberPrefix, numberPrefix }
      return shop.transact(shop.tenantId, (tx) => insertLegalEntity(tx, entity))
    }
    for (const prefix of ['INV', 'CN', 'CN-HELLAS'])
      await expect(insert(prefix)).rejects.toMatchObject({ code: '23514' })
    expect([await insert('CNX'), await insert('INV-X')]).toEqual([true, true])
    expect((await shop.call('POST', '/legal-entities', { ...HELLAS, key: 'cnb' })).status).toBe(201)
  })

  test('a tenant without one is billed without tax under its own numbers, and keeps them', async () => {
    worlds += 1
    const world = await createWorld(database, `tax-${worlds}`)
    await world.plan()
    await world.subscribe('a', { endMs: JANUARY })
    await world.subscribe('b')
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await world.run()
    const doors = buildDoors(database, { now: world.now, newId: world.newId })
    const shop: Shop = { ...world, call: (method, url, body) => doors.call(world.tenantId, method, url, body) }
    await shop.call('POST', '/legal-entities', { ...HELLAS, number_prefix: 'GR' })
    await shop.call('PATCH', '/customers/a', inGreece)
    // Late usage of what was not taxed is not either, and nobody has to know where its customer is.
    for (const name of ['a', 'b']) shop.use(name, 'context_tokens', '1000000', NOVEMBER, DECEMBER + 24 * HOUR_MS)
    shop.clock.nowMs = AFTER
    await shop.run(AFTER)
    const vat = '0.00 GR-VAT standard_rate'
    expect(shown(await invoicesOf(shop)).map((text) => text.replace(/GR-00000\d/, 'GR'))).toEqual([
      `a GR: 23.00 + 4.80 = 27.80 (4.80 GR-VAT standard_rate, ${vat}, ${vat}, none)`,
      'a INV-000001: 20.00 + 0.00 = 20.00 (none, none, none)',
      'b GR: 3.00 + 0.00 = 3.00 (none)',
      'b INV-000002: 20.00 + 0.00 = 20.00 (none, none, none)',
    ])
    expect(await parkedOf(shop)).toEqual([])
  })

  test('the same call again answers the same and tells nothing twice; other content is refused', async () => {
    const shop = await open()
    const again = await shop.call('POST', '/legal-entities', HELLAS)
    const read = await shop.call('GET', '/legal-entities/hellas')
    expect(again).toEqual(read)
    expect(read.body).toMatchObject({
      ...HELLAS,
      number_prefix: 'HELLAS',
      tax: {
        enabled: true,
        engine: 'embedded',
        rounding: 'per_line',
        amounts: 'exclusive',
        eu_consumers: 'destination',
      },
    })
    expect((await shop.call('GET', '/legal-entities')).body).toEqual({ legal_entities: [read.body], next: null })
    expect(await shop.call('POST', '/legal-entities', { ...HELLAS, name: 'Other' })).toMatchObject({ status: 409 })
    const taken = { ...HELLAS, key: 'other', number_prefix: 'HELLAS' }
    expect(await shop.call('POST', '/legal-entities', taken)).toMatchObject({ status: 409 })
    const change = { tax: { rounding: 'per_invoice' } }
    const changed = await shop.call('PATCH', '/legal-entities/hellas', change)
    expect(changed.body).toEqual({ ...read.body, tax: { ...(read.body.tax as object), rounding: 'per_invoice' } })
    expect(await shop.call('PATCH', '/legal-entities/hellas', change)).toEqual(changed)
    const rate = { country: 'GR', rate_percent: '13.50', effective_from: '2024-01-01' }
    const added = await shop.call('POST', '/tax-rates', rate)
    expect(added).toMatchObject({ status: 201, body: { rate_percent: '13.5', effective_until: null } })
    expect(await shop.call('POST', '/tax-rates', rate)).toEqual({ ...added, status: 200 })
    expect(await shop.call('POST', '/tax-rates', { ...rate, rate_percent: '14' })).toMatchObject({ status: 409 })
    expect((await shop.call('GET', '/tax-rates?country=GR')).body).toEqual({ tax_rates: [added.body], next: null })
    await shop.subscribe('a')
    const details = {
      kind: 'consumer',
      billing_address: { line1: '1 Main Street', city: 'Athens', postal_code: '10671', country: 'GR' },
      tax_ids: [{ type: 'eu_vat', value: 'EL123456789' }],
      tax_exemption: { reason: 'charity' },
      legal_entity: 'hellas',
    }
    const patched = await shop.call('PATCH', '/customers/a', details)
    expect(patched.body).toMatchObject({
      ...details,
      billing_address: { ...details.billing_address, line2: null, region: null },
      tax_exemption: { reason: 'charity', certificate: null },
    })
    expect(await shop.call('PATCH', '/customers/a', details)).toEqual(patched)
    expect((await shop.call('PATCH', '/customers/a', { legal_entity: null, tax_exemption: null })).body).toEqual({
      ...patched.body,
      legal_entity: null,
      tax_exemption: null,
    })
    // What is given of an address is changed, and its rest stays.
    const moved = await shop.call('PATCH', '/customers/a', { billing_address: { country: 'FR', line2: 'B' } })
    const address = { ...details.billing_address, line2: 'B', region: null, country: 'FR' }
    expect(moved.body).toMatchObject({ billing_address: address })
    const cleared = await shop.call('PATCH', '/customers/a', { billing_address: { line2: null } })
    expect(cleared.body).toMatchObject({ billing_address: { ...address, line2: null } })
    const seated = await shop.call('PATCH', '/legal-entities/hellas', { address: { country: 'GR', city: 'Patras' } })
    expect(await shop.call('PATCH', '/legal-entities/hellas', { address: { country: 'GR' } })).toEqual(seated)
    expect(seated.body).toMatchObject({ address: { country: 'GR', city: 'Patras', line1: null } })
    // VAT numbers are kept as states write them.
    const greek = await shop.call('PATCH', '/customers/a', { tax_ids: [{ type: 'eu_vat', value: 'gr 123.456-789' }] })
    expect(greek.body).toMatchObject({ tax_ids: [{ type: 'eu_vat', value: 'EL123456789' }] })
    // Creating the customer again is the same call as before it was changed.
    const created = { external_key: 'a', currency: 'USD', subjects: ['a'] }
    expect((await shop.call('POST', '/customers', created)).status).toBe(200)
    expect((await shop.call('POST', '/customers', { ...created, kind: 'business' })).status).toBe(409)
    const { events } = (await shop.call('GET', '/billing-events')).body as { events: { event: string }[] }
    const told = ['legal_entity.created', 'legal_entity.updated', 'tax_rate.created', 'customer.updated']
    expect(told.map((name) => events.filter(({ event }) => event === name).length)).toEqual([1, 2, 1, 4])
  })

  test.each<['POST' | 'PATCH', string, object, string]>([
    ['POST', '/legal-entities', { ...HELLAS, key: 'x', country: 'XX' }, 'country'],
    ['POST', '/legal-entities', { ...HELLAS, key: 'x', number_prefix: 'INV' }, 'number_prefix'],
    ['POST', '/legal-entities', { ...HELLAS, key: 'x', number_prefix: 'CN' }, 'number_prefix'],
    ['POST', '/legal-entities', { ...HELLAS, key: 'cn-hellas' }, 'number_prefix'],
    ['POST', '/legal-entities', { ...HELLAS, key: 'é' }, 'number_prefix'],
    ['POST', '/legal-entities', { ...HELLAS, key: 'x', default_currency: 'XXX' }, 'default_currency'],
    ['POST', '/legal-entities', { ...HELLAS, key: 'x', address: { country: 'EL' } }, 'address.country'],
    [
      'PATCH',
      '/legal-entities/hellas',
      { tax_registrations: [{ country: 'ZZ', number: '1' }] },
      'tax_registrations.0.country',
    ],
    ['POST', '/tax-rates', { country: 'ZZ', rate_percent: '1', effective_from: '2024-01-01' }, 'country'],
    ['POST', '/tax-rates', { country: 'GR', rate_percent: '100.1', effective_from: '2024-01-01' }, 'rate_percent'],
    ['POST', '/tax-rates', { country: 'GR', rate_percent: '-1', effective_from: '2024-01-01' }, 'rate_percent'],
    [
      'POST',
      '/tax-rates',
      { country: 'GR', rate_percent: '1', effective_from: '2024-01-01', effective_until: '2024-01-01' },
      'effective_until',
    ],
    ['PATCH', '/customers/a', { billing_address: { country: 'UK' } }, 'billing_address.country'],
    ['PATCH', '/customers/a', { legal_entity: 'nobody' }, 'legal_entity'],
    ['PATCH', '/customers/a', { billing_address: { city: 'Athens' } }, 'billing_address.country'],
    ['PATCH', '/customers/a', { tax_ids: [{ type: 'eu_vat', value: 'DE12345' }] }, 'tax_ids.0.value'],
    [
      'POST',
      '/customers',
      { external_key: 'x', currency: 'USD', subjects: [], tax_ids: [{ type: 'eu_vat', value: 'GB123456789' }] },
      'tax_ids.0.value',
    ],
    ['POST', '/legal-entities', { ...HELLAS, key: 'x', tax_registrations: [] }, 'tax_registrations'],
    ['PATCH', '/legal-entities/hellas', { tax_registrations: [] }, 'tax_registrations'],
    ['PATCH', '/legal-entities/hellas', { address: { city: 'Athens' } }, 'address.country'],
    ['POST', '/tax-rates', { country: 'MC', rate_percent: '1', effective_from: '2024-01-01' }, 'country'],
  ])('%s %s refuses %j', async (method, url, body, path) => {
    const { shop } = await refusing()
    expect(await shop.call(method, url, body)).toMatchObject({
      status: 400,
      body: { code: 'invalid_request', errors: [{ path }] },
    })
  })
})

/** As much of an invoice as its number needs. */
function newInvoice(shop: Shop, subscription: DueSubscription, legalEntityId: string | undefined): NewInvoice {
  const totals = { subtotalMinor: 0n, taxMinor: 0n, totalMinor: 0n, amountDueMinor: 0n }
  const draft = { ...totals, lines: [], ...(legalEntityId === undefined ? {} : { legalEntityId }) }
  const plan = { ...storedPlan(), id: subscription.planId }
  const period = { index: 0, ...subscription.next, wholeStartMs: 0, wholeEndMs: 0 }
  return { id: shop.newId(), subscription, plan, period, next: null, draft }
}

/** Until a transaction of this database waits for another. */
async function somebodyWaits(): Promise<void> {
  const owner = new pg.Client({ connectionString: database.ownerUrl })
  await owner.connect()
  const sql = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
  const isWaiting = async () => expect((await owner.query(sql)).rows).toHaveLength(1)
  await vi.waitFor(isWaiting, { timeout: 20_000, interval: 20 }).finally(() => owner.end())
}

let refusingShop: Promise<{ shop: Shop }> | undefined
/** One for all refusals, which change nothing. */
function refusing(): Promise<{ shop: Shop }> {
  refusingShop ??= (async () => {
    const shop = await open()
    await shop.subscribe('a')
    return { shop }
  })()
  return refusingShop
}
