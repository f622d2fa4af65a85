import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Invoicing, openInvoicing } from '../../support/invoicing.ts'

type Line = { description: string; amount: string; tax: { amount: string } | null }
type Billed = { id: string; total: string; off_cycle: boolean; lines: Line[] }
const START_MS = Date.UTC(2026, 10, 1)
const DAY_MS = 24 * 3_600_000
let world: Invoicing
beforeAll(async () => {
  world = await openInvoicing('progressive')
})
afterAll(() => world.close())

async function expectVerified(invoices: readonly Billed[]): Promise<void> {
  for (const { id } of invoices) {
    const verified = await world.get(`/invoices/${id}/verification`)
    expect([verified, verified.equal]).toEqual([verified, true])
  }
}
const shown = ({ lines }: Billed) => lines.map(({ amount, tax }) => `${amount} ${tax?.amount}`)
const LESS = 'less what was billed in the period'

/** Issue 7, on real stores and through REST: R1 with 10 % off and 24 % tax. */
test('invoices inside of a period have discounts and tax, and each is verified from raw events, whatever was changed since', async () => {
  const { clock, call, send, get, use } = world
  const run = (dryRun = false) => world.run<Billed>(dryRun)
  clock.nowMs = START_MS + 2 * DAY_MS
  const tax_registrations = [{ country: 'GR', number: 'EL123456789' }]
  await send('POST', '/legal-entities', { key: 'hellas', name: 'Hellas', country: 'GR', tax_registrations }, 201)
  await world.begin({ billing_address: { country: 'GR' } })
  const tiers = [
    { up_to: '10', unit_amount: '10', flat_amount: '2' },
    { up_to: '20', unit_amount: '5', flat_amount: '3' },
    { up_to: null, unit_amount: '5', flat_amount: '3' },
  ]
  const charges = [{ key: 'use', name: 'Use', meter: 'tokens', price: { model: 'graduated', tiers } }]
  const of = { currency: 'USD', interval: 'month', alignment: 'calendar', grace_seconds: 0, charges }
  await send('POST', '/plans', { key: 'llm', name: 'LLM', ...of }, 201)
  await send('POST', '/plans', { key: 'half', name: 'Half', ...of }, 201)
  const start = '2026-11-01T00:00:00Z'
  await send('POST', '/subscriptions', { external_key: 'acme', customer: 'acme', plan: 'llm', start }, 201)
  await send('POST', '/coupons', { key: 'tenth', name: 'Tenth', percent: '10', cycles: 1 }, 201)
  await send('POST', '/subscriptions/acme/discounts', { external_key: 'tenth', coupon: 'tenth', start }, 201)
  const url = '/subscriptions/acme/progressive-billing'
  expect(await call('GET', url)).toMatchObject({ status: 404 })
  expect(await call('PUT', url, { threshold: '0.00' })).toMatchObject({ status: 400 })
  const threshold = { threshold: '50.00', currency: 'USD' }
  expect(await send('PUT', url, { threshold: '50.00' }, 200)).toMatchObject(threshold)
  expect(await get(url)).toMatchObject(threshold)

  await use(5)
  expect(await run(true)).toEqual([])
  const [dry] = (await get('/billing-runs')).billing_runs as { id: string }[]
  const { drafts } = await get(`/billing-runs/${dry!.id}/review`)
  expect(drafts).toMatchObject([{ kind: 'invoice', off_cycle: true, amount: '58.03' }])
  const [first] = await run()
  // 52.00, of which 5.20 are off; 24 % of the rest.
  expect([shown(first!), first!.total]).toEqual([['52.00 12.48', '-5.20 -1.25'], '58.03'])
  expect(await run()).toHaveLength(1)
  await use(7)
  const [, second] = await run()
  expect([shown(second!), second!.total]).toEqual([['115.00 27.60', '-46.80 -11.23', '-11.50 -2.76'], '70.31'])
  await expectVerified([first!, second!])
  const less = await get(`/invoices/${second!.id}/lines/1/explain`)
  expect(second!.lines[1]!.description).toBe(`Use (${LESS})`)
  expect(less.tree).toMatchObject({ output: '-46.80', parts: [{ rule: '0 - 46.80', output: '-46.80' }] })

  clock.nowMs = START_MS + 15 * DAY_MS
  await send('PATCH', '/subscriptions/acme', { plan: 'half', when: 'now' }, 200)
  await use(9)
  expect(await get('/subscriptions/acme/preview')).toMatchObject({
    state: 'draft',
    finalises_at: '2026-12-01T00:00:00.000Z',
  })
  clock.nowMs = START_MS + 31 * DAY_MS
  const all = await run()
  // 12 on the one, 112.50, and 9 on the other, 91.00; less what was billed, 103.50.
  expect(all.slice(2).map(({ total, lines }) => [total, ...lines.map(({ amount }) => amount)])).toEqual([
    ['98.77', '112.50', '91.00', '-103.50', '-11.25', '-9.10'],
  ])
  await expectVerified(all)
})
