import { expect } from 'vitest'
import type { TestDatabase } from '../../../support/test-database.ts'
import { type Answer, buildDoors } from '../../support/doors.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, type World } from '../../support/world.ts'

export const HOUR_MS = 3_600_000
/** December is over, and its grace too. */
export const AFTER = JANUARY + 2 * HOUR_MS

export type Shop = World & { call: (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object) => Promise<Answer> }

/** A tenant whose plan charges 0.01 a token, and a Greek legal entity that is registered in Greece. */
export async function openShop(database: TestDatabase, slug: string, entity: object = {}): Promise<Shop> {
  const world = await createWorld(database, slug)
  const price = { model: 'per_unit', unit_amount: '0.01' } as const
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price }] })
  const doors = buildDoors(database, { usage: world.deps.usage, now: world.now, newId: world.newId })
  const call: Shop['call'] = (method, url, body) => doors.call(world.tenantId, method, url, body)
  const created = await call('POST', '/legal-entities', { ...HELLAS, ...entity })
  expect(created.status).toBe(201)
  return { ...world, call }
}

export const HELLAS = {
  key: 'hellas',
  name: 'Hellas',
  country: 'GR',
  tax_registrations: [{ country: 'GR', number: 'EL123456789' }],
}
export const inGreece = { billing_address: { country: 'GR' } }
export const inGermany = { billing_address: { country: 'DE' } }

/** A customer with details who uses so many tokens in November. */
export async function sell(
  shop: Shop,
  name: string,
  tokens: string,
  details?: object,
  endMs = DECEMBER,
): Promise<void> {
  await shop.subscribe(name, { endMs })
  shop.use(name, 'context_tokens', tokens, NOVEMBER)
  if (details === undefined) return
  const changed = await shop.call('PATCH', `/customers/${name}`, details)
  expect(changed).toMatchObject({ status: 200, body: details })
}

type LineBody = {
  amount: string
  tax: { amount: string; code: string; reason: string; certificate: string | null } | null
}
export type InvoiceBody = {
  number: string
  legal_entity: string | null
  customer: { external_key: string }
  lines: LineBody[]
} & Record<'subtotal' | 'tax' | 'total' | 'credit' | 'amount_due', string>

export async function invoicesOf(shop: Shop): Promise<InvoiceBody[]> {
  return (await shop.call('GET', '/invoices')).body.invoices as InvoiceBody[]
}

/** Customer, number, subtotal + tax = total, and each line's tax with its reason. */
export const shown = (invoices: InvoiceBody[]) =>
  invoices
    .map(({ customer, number, subtotal, tax, total, lines }) => {
      const taxes = lines.map((line) => (line.tax ? `${line.tax.amount} ${line.tax.code} ${line.tax.reason}` : 'none'))
      return `${customer.external_key} ${number}: ${subtotal} + ${tax} = ${total} (${taxes.join(', ')})`
    })
    .sort()

export async function parkedOf(shop: Shop): Promise<string[]> {
  const { rows } = await shop.transact(shop.tenantId, (tx) =>
    tx.query<{ reason: string }>('SELECT reason FROM parked_subscriptions ORDER BY parked_at, reason'),
  )
  return rows.map(({ reason }) => reason)
}
