import { Registry } from 'prom-client'
import { expect, test, vi } from 'vitest'
import { announceTo } from '../../../invoicer/outbox/announce.prometheus.ts'
import type { FinancialEvent } from '../../../invoicer/outbox/announce.ts'

const finalised: FinancialEvent = {
  event: 'invoice_finalised',
  userId: 'ann',
  usageType: 'subscription',
  amount: '20.00',
  currency: 'USD',
  invoiceId: '01890a5d-ac96-774b-bcce-b302099a8057',
}

/** HC-9. A counter refuses to fall, and whoever tells it would fail behind its commit, with the run around it. */
test('an invoice below 0 is told like any other, and counts as given back', async () => {
  const registry = new Registry()
  const info = vi.fn()
  const announce = announceTo({ info }, registry)
  for (const amount of ['20.00', '-45.88', '0.00', '3.50', '-1.12']) announce({ ...finalised, amount })
  announce({ ...finalised, event: 'payment_succeeded', amount: '100.00' })
  announce({ ...finalised, amount: '-7', currency: 'JPY' })
  const text = await registry.metrics()
  const counted = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  expect(counted).toEqual([
    'billing_revenue_total{currency="USD"} 23.5',
    'billing_revenue_given_back_total{currency="USD"} 47',
    'billing_revenue_given_back_total{currency="JPY"} 7',
  ])
  expect(info.mock.calls.map(([line]) => line.amount)).toEqual([
    ...['20.00', '-45.88', '0.00', '3.50', '-1.12', '100.00', '-7'],
  ])
})
