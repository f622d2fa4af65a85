import { expect } from 'vitest'
import type { TestDatabase } from '../../../support/test-database.ts'
import { openShop, type Shop } from '../tax/shop.ts'

const fee = (key: string, amount: string) => {
  return { key, name: key, meter: null, price: { model: 'flat' as const, amount } }
}
export type Line = {
  index: number
  charge: string
  amount: string
  tax: { amount: string } | null
  discount: { line: number } | null
}
export type Invoice = {
  id: string
  number: string
  customer: { external_key: string }
  period_start: string
  lines: Line[]
  discounts: { coupon: string; cycle: number | null; amount: string }[]
} & Record<'subtotal' | 'tax' | 'total', string>

/** A tenant whose plan `fees` has three fees of a month, beside the plan `llm` of usage at 0.01 a token. */
export async function openCouponShop(database: TestDatabase, slug: string, entity?: object): Promise<Shop> {
  const shop = await openShop(database, slug, entity)
  await shop.plan({
    key: 'fees',
    fees: 'in_arrears',
    charges: [fee('a', '100.00'), fee('b', '50.00'), fee('c', '0.01')],
  })
  return shop
}

export async function invoicesOf(shop: Shop): Promise<Invoice[]> {
  return (await shop.call('GET', '/invoices')).body.invoices as Invoice[]
}

export async function post(shop: Shop, url: string, body: object, status = 201): Promise<Record<string, unknown>> {
  const answer = await shop.call('POST', url, body)
  expect([answer.status, answer.body]).toEqual([status, answer.body])
  return answer.body
}

/** Each line: charge, amount, tax, and which line it lowers. */
export const shown = ({ lines }: Invoice): string[] =>
  lines.map(({ charge, amount, tax, discount }) => `${charge} ${amount} ${tax?.amount} ${discount?.line ?? ''}`.trim())

export async function verified(shop: Shop, { id }: Invoice): Promise<Record<string, unknown>> {
  return (await shop.call('GET', `/invoices/${id}/verification`)).body
}
