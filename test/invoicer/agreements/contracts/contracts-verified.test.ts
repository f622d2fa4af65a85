import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Invoicing, openInvoicing } from '../../support/invoicing.ts'

type Line = { index: number; amount: string; plan_hash: string }
type Billed = { id: string; lines: Line[] }
let world: Invoicing
beforeAll(async () => {
  world = await openInvoicing('negotiated')
})
afterAll(() => world.close())

/** The amounts of its lines, each explained, and all of it recomputed from raw events. */
async function verified({ id, lines }: Billed): Promise<string[]> {
  expect(await world.get(`/invoices/${id}/verification`)).toMatchObject({ equal: true, difference: null })
  for (const { index, amount } of lines) {
    expect(await world.get(`/invoices/${id}/lines/${index}/explain`)).toMatchObject({ tree: { output: amount } })
  }
  return lines.map(({ amount }) => amount)
}

/** Issue 7: what was negotiated is explained and verified from raw events, and given back, like any other line. */
test('two steps of a ramp in one period, each at prices of its own, and what came late of the first', async () => {
  const post = (url: string, body: object) => world.send('POST', url, body, 201)
  const newest = async () => (await world.run<Billed>()).at(-1)!
  await world.begin()
  const price = (unit: string) => ({ model: 'per_unit', unit_amount: unit })
  const list = await post('/plans', {
    ...{ key: 'llm', name: 'LLM', currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0 },
    charges: [{ key: 'use', name: 'Use', meter: 'tokens', price: price('0.10') }],
  })
  const overrides = (unit: string) => ({ charges: { use: { price: price(unit) } } })
  const phases = [
    { for: { interval: 'day', count: 5 }, overrides: overrides('0.08') },
    { overrides: overrides('0.09') },
  ]
  const times = { start: '2026-11-05T00:00:00Z', end: '2026-11-15T00:00:00Z' }
  await post('/subscriptions', { external_key: 'acme', customer: 'acme', plan: 'llm', ...times, phases })
  await world.use(100, '2026-11-06T00:00:00Z')
  await world.use(100, '2026-11-12T00:00:00Z')
  const first = await newest()
  expect(await verified(first)).toEqual(['8.00', '9.00'])
  expect(new Set([list.hash, ...first.lines.map((line) => line.plan_hash)]).size).toBe(3)
  await world.use(50, '2026-11-07T00:00:00Z')
  expect(await verified(await newest())).toEqual(['4.00'])
  const given = await world.app.inject({
    ...{ method: 'POST', url: `/api/v1/invoices/${first.id}/credit-notes` },
    headers: { 'x-tenant': String(world.tenant.id), 'idempotency-key': 'back' },
    payload: { reason: 'Agreed.', lines: [{ line: 1 }] },
  })
  expect([given.statusCode, given.json()]).toMatchObject([201, { total: '9.00' }])
})
