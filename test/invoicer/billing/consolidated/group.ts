import { expect } from 'vitest'
import type { TestDatabase } from '../../../support/test-database.ts'
import { type Answer, buildDoors } from '../../support/doors.ts'
import { NOVEMBER } from '../../support/world.ts'
import { readerOf } from '../fees/fees-world.ts'
import { AFTER, inGreece, openShop, type Shop } from '../tax/shop.ts'

export type Part = { invoice_id: string; customer: { external_key: string }; first_line: number; total: string }
export type InvoiceBody = {
  id: string
  number: string
  state: string
  customer: { external_key: string }
  on_behalf_of: { external_key: string } | null
  subscription_id: string | null
  lines: { index: number; amount: string; tax: { amount: string } | null }[]
  parts: Part[]
} & Record<'subtotal' | 'tax' | 'total' | 'credit' | 'balance' | 'amount_due' | 'credited', string>

/** `keyed`: what is done once per idempotency key. */
export type Group = Shop & {
  keyed: (url: string, key: string, body: object) => Promise<Answer>
  put: (url: string, body: object) => Promise<Answer>
}

/** A Greek parent with two children for which it pays; each uses tokens of 0.01 in November. */
export async function openGroup(database: TestDatabase, slug: string, of: object = {}): Promise<Group> {
  const shop = await openShop(database, slug)
  const { usage } = shop.deps
  const doors = buildDoors(database, { usage, events: readerOf(shop.events), now: shop.now, newId: shop.newId })
  shop.call = (method, url, body) => doors.call(shop.tenantId, method, url, body)
  const keyed: Group['keyed'] = async (url, key, payload) => {
    const headers = { 'x-tenant': String(shop.tenantId), 'idempotency-key': key }
    const response = await doors.app.inject({ method: 'POST', url: `/api/v1${url}`, headers, payload })
    return { status: response.statusCode, body: response.json() }
  }
  shop.clock.nowMs = AFTER
  for (const [name, tokens] of Object.entries({ acme: '1000', north: '2050', south: '333' })) {
    await shop.subscribe(name)
    shop.use(name, 'context_tokens', tokens, NOVEMBER)
  }
  await place(shop, 'acme', { ...inGreece, ...of })
  for (const child of ['north', 'south']) await place(shop, child, { parent: 'acme', pays: 'parent' })
  const put: Group['put'] = (url, body) => doors.call(shop.tenantId, 'PUT', url, body)
  return { ...shop, keyed, put }
}

export async function place(shop: Shop, customer: string, details: object): Promise<void> {
  expect(await shop.call('PATCH', `/customers/${customer}`, details)).toMatchObject({ status: 200, body: details })
}

export async function invoicesOf(shop: Shop, query = ''): Promise<InvoiceBody[]> {
  return (await shop.call('GET', `/invoices${query}`)).body.invoices as InvoiceBody[]
}

/** The only one. */
export async function invoiceOf(shop: Shop, query = ''): Promise<InvoiceBody> {
  const [invoice, ...others] = await invoicesOf(shop, query)
  if (invoice === undefined || others.length > 0) throw new Error(`${others.length + (invoice ? 1 : 0)} invoices`)
  return invoice
}

/** Number, payer, whose subscription it is, and total. */
export const shown = (invoices: readonly InvoiceBody[]) =>
  invoices
    .map((one) => {
      const whose = one.on_behalf_of === null ? '' : ` for ${one.on_behalf_of.external_key}`
      return `${one.customer.external_key}${whose}: ${one.subtotal} + ${one.tax} = ${one.total}`
    })
    .sort()
