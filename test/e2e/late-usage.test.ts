import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { EVENT_TYPE, METERS, setUpMeters } from '../integrity/catalog.ts'
import { type Api, apiOf } from '../support/api.ts'
import { eventually, newDataFolder, type Product, removeDataFolder, startProduct } from '../support/product.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 })

const HOUR_MS = 3_600_000
const nowMs = Math.floor(Date.now() / 60_000) * 60_000
const [startMs, endMs] = [nowMs - 25 * HOUR_MS, nowMs - HOUR_MS]
const folder = newDataFolder()
let product: Product
let key: string

const api = (): Api => apiOf(product.url, key)
const iso = (ms: number) => new Date(ms).toISOString()
type Line = { description: string; amount: string; period_start: string; quantity: string | null }
type Invoice = { id: string; lines: Line[]; total: string; balance: string; amount_due: string; credited: string }

beforeAll(async () => {
  const started = await startProduct(folder)
  product = started
  key = started.key
  await setUpMeters(api())
  const tiers = [
    { up_to: '1000', unit_amount: '0.01' },
    { up_to: null, unit_amount: '0.005' },
  ]
  await api().call('POST', '/plans', {
    ...{ key: 'llm', name: 'LLM', currency: 'USD', interval: 'day', alignment: 'anniversary', grace_seconds: 0 },
    charges: [{ key: 'use', name: 'Use', meter: METERS.context, price: { model: 'graduated', tiers } }],
  })
  await api().call('POST', '/customers', { external_key: 'ann', currency: 'USD', subjects: ['ann'] })
  const terms = { start: iso(startMs), end: iso(endMs) }
  await api().call('POST', '/subscriptions', { external_key: 'ann', customer: 'ann', plan: 'llm', ...terms })
})
afterAll(async () => {
  await product.stop()
  await removeDataFolder(folder)
})

const use = (id: string, tokens: number) =>
  api().call('POST', '/events', {
    ...{ id, source: 'e2e', type: EVENT_TYPE, subject: 'ann', time: iso(startMs + HOUR_MS) },
    data: { [METERS.context]: tokens, [METERS.generated]: 0 },
  })
/** A run, and the invoices after it, oldest first. */
async function run(): Promise<Invoice[]> {
  const { id } = await api().call<{ id: string }>('POST', '/billing-runs', {})
  const done = await eventually(
    () => api().call<{ state: string; error: string | null }>('GET', `/billing-runs/${id}`),
    ({ state }) => state !== 'running',
  )
  expect(done).toMatchObject({ state: 'completed', error: null })
  return (await api().call<{ invoices: Invoice[] }>('GET', '/invoices')).invoices
}
const notesOn = async ({ id }: Invoice) =>
  (await api().call<{ credit_notes: object[] }>('GET', `/invoices/${id}/credit-notes`)).credit_notes

/** C2 of billing-cases.md, through the product's doors and its own stores; and the corrections of what was billed. */
test('C2: usage that arrives for an invoiced period is billed as the difference by the next run', async () => {
  await use('one', 900)
  expect(await run()).toMatchObject([{ total: '9.00' }])
  await use('two', 300)
  // The same event once more is nothing new.
  await use('one', 900)
  const [first, late] = await run()
  // 100 at 0.01 and 200 at 0.005: the tiers of that period go on.
  expect(late).toMatchObject({ total: '2.00', lines: [{ amount: '2.00', period_start: iso(startMs), quantity: null }] })
  expect(late!.lines[0]!.description).toContain('late usage')
  expect(first).toMatchObject({ total: '9.00', credited: '0.00' })
  expect(await run()).toHaveLength(2)

  await api().call('POST', '/events/void', { source: 'e2e', id: 'one', reason: 'sent by mistake' })
  const invoices = await run()
  expect(invoices).toHaveLength(2)
  // Of 11.00 stay 3.00 for the other 300: 2.00 go back on the newer invoice, 6.00 on the older one.
  expect(await notesOn(late!)).toMatchObject([{ number: 'CN-000001', total: '2.00', to_balance: '2.00' }])
  expect(await notesOn(first!)).toMatchObject([{ number: 'CN-000002', total: '6.00', to_balance: '6.00' }])
  expect(await api().call('GET', '/customers/ann/balance')).toMatchObject({
    balances: [{ currency: 'USD', balance: '8.00' }],
  })

  const item = { external_key: 'setup', subscription: 'ann', description: 'Setup', amount: '10.00' }
  await api().call('POST', '/invoice-items', item)
  const [, , setup] = await run()
  expect(setup).toMatchObject({
    lines: [{ description: 'Setup' }],
    total: '10.00',
    balance: '8.00',
    amount_due: '2.00',
  })
  expect(await run()).toHaveLength(3)
})
