import { expect } from 'vitest'
import type { TestDatabase } from '../../../support/test-database.ts'
import { inGreece, openShop, type Shop } from '../../billing/tax/shop.ts'
import { NOVEMBER } from '../../support/world.ts'

export type Body = Record<string, unknown>
type Line = { index: number; plan: string; charge: string; amount: string; meter: string | null }
type Invoice = { id: string; period_start: string; lines: Line[]; subtotal: string; customer: { external_key: string } }

/** A shop whose calls are expected to go well, with customers ann and bob; it is 1 November. */
export type ContractShop = Shop & {
  ok: (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object) => Promise<Body>
}

export async function openContracts(database: TestDatabase, slug: string): Promise<ContractShop> {
  const shop = await openShop(database, slug)
  const ok: ContractShop['ok'] = async (method, url, body) => {
    const answer = await shop.call(method, url, body)
    expect([answer.status < 300, answer.body]).toEqual([true, answer.body])
    return answer.body as Body
  }
  shop.clock.nowMs = NOVEMBER
  for (const name of ['ann', 'bob']) {
    await ok('POST', '/customers', { external_key: name, currency: 'USD', subjects: [name] })
    await ok('PATCH', `/customers/${name}`, inGreece)
  }
  return { ...shop, ok }
}

export const tokens = (unit: string, change: object = {}) => {
  const price = { model: 'per_unit', unit_amount: unit, ...change }
  return { key: 'use', name: 'Use', meter: 'context_tokens', price }
}
export const fee = (amount: string) => ({ key: 'base', name: 'Base', price: { model: 'flat', amount } })
export const planOf = (key: string, charges: object[], change: object = {}) => ({
  ...{ key, name: key, currency: 'USD', interval: 'month', alignment: 'calendar', fees: 'in_arrears' },
  ...{ charges, ...change },
})

/**
 * Each invoice of a customer in the order of its periods: its lines; and that those of fees alone are verified and explained.
 * Usage is from memory here: contracts-verified.test.ts does the same with events.
 */
export async function billed(shop: ContractShop, name: string): Promise<string[]> {
  const { invoices } = await shop.ok('GET', '/invoices')
  const own = (invoices as Invoice[]).filter(({ customer }) => customer.external_key === name)
  const inOrder = own.sort((a, b) => (a.period_start + a.id < b.period_start + b.id ? -1 : 1))
  for (const { id, lines } of inOrder.filter((invoice) => invoice.lines.every(({ meter }) => meter === null))) {
    expect(await shop.ok('GET', `/invoices/${id}/verification`)).toMatchObject({ equal: true, difference: null })
    for (const { index, amount } of lines) {
      const explained = await shop.ok('GET', `/invoices/${id}/lines/${index}/explain`)
      expect(explained).toMatchObject({ tree: { output: amount } })
    }
  }
  return inOrder.map(({ period_start: start, lines, subtotal }) => {
    const texts = lines.map(({ plan, charge, amount }) => `${plan} ${charge} ${amount}`)
    return `${start.slice(0, 10)}: ${texts.join(', ')} = ${subtotal}`
  })
}

/** How many private versions of plans there are. */
export async function privatePlans(shop: ContractShop): Promise<number> {
  const { rows } = await shop.transact(shop.tenantId, (tx) =>
    tx.query<{ count: number }>('SELECT count(*)::integer AS count FROM plans WHERE base_plan_id IS NOT NULL'),
  )
  return rows[0]?.count ?? -1
}
