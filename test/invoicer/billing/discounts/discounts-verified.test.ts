import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Invoicing, openInvoicing } from '../../support/invoicing.ts'

type Billed = { id: string; lines: { charge: string; amount: string }[] }
let world: Invoicing
beforeAll(async () => {
  world = await openInvoicing('discounted')
})
afterAll(() => world.close())

const verify = ({ id }: Billed) => world.get(`/invoices/${id}/verification`)
const amounts = ({ lines }: Billed) => lines.map(({ amount }) => amount)

/** Issue 7 and billing-rules "Usage that comes late", on real stores. */
test('usage with a minimum, a percentage and an amount off is verified from raw events, and so is what came late', async () => {
  const post = (url: string, body: object) => world.send('POST', url, body, 201)
  const use = (tokens: number) => world.use(tokens, '2026-11-06T00:00:00Z')
  const newest = async () => (await world.run<Billed>()).at(-1)!
  await world.begin()
  const price = { model: 'per_unit', unit_amount: '0.333', minimum_amount: '20.00' }
  await post('/plans', {
    ...{ key: 'llm', name: 'LLM', currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0 },
    charges: [{ key: 'use', name: 'Use', meter: 'tokens', price }],
  })
  const [start, end] = ['2026-11-05T00:00:00Z', '2026-11-15T00:00:00Z']
  await post('/subscriptions', { external_key: 'acme', customer: 'acme', plan: 'llm', start, end })
  await post('/coupons', { key: 'third', name: 'A third', percent: '33.333333333333', cycles: null })
  await post('/coupons', { key: 'one', name: 'One', amount: '1.00', currency: 'USD', cycles: null, charges: ['use'] })
  await post('/subscriptions/acme/discounts', { external_key: 'third', coupon: 'third', start })
  await post('/subscriptions/acme/discounts', { external_key: 'one', coupon: 'one', start })
  await use(10)
  const first = await newest()
  // A third of a month: 3.33, and as much up to 17.33 - 10.67 = 6.66. Less 1.00, less a third: 1.89.
  expect(amounts(first)).toEqual(['3.33', '3.33', '-0.50', '-0.50', '-0.95', '-0.94'])
  expect(await verify(first)).toMatchObject({ equal: true, difference: null, checked: { lines: 6, events: 1 } })

  await use(20)
  const second = await newest()
  // 9.99 by now: 3.33 more, of which a third is 1.11.
  expect(amounts(second)).toEqual(['2.22'])
  expect(await verify(second)).toMatchObject({ equal: true, difference: null, checked: { lines: 1, events: 2 } })
  const { tree } = (await world.get(`/invoices/${second.id}/lines/0/explain`)) as {
    tree: { parts: { label: string; output: string }[] }
  }
  expect(tree.parts.slice(-2)).toMatchObject([
    { label: 'Less discounts of that period', output: '5.99' },
    { label: 'Less what was billed', rule: '5.99 - 3.77', output: '2.22' },
  ])
})
