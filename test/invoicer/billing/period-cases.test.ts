import { describe, expect, test } from 'vitest'
import type { Plan } from '../../../invoicer/agreements/plans/plan.ts'
import { periodsFrom } from '../../../invoicer/agreements/subscriptions/periods.ts'
import type { Terms } from '../../../invoicer/agreements/subscriptions/subscription.ts'
import { draftInvoice } from '../../../invoicer/billing/lines.ts'
import type { Price } from '../../../invoicer/billing/rating/price.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import { storedPlan } from '../support/world.ts'

const at = (text: string) => Date.parse(text)
const planOf = (price: Price, meter: string | null): Plan<Price> => ({
  ...storedPlan({ charges: [{ key: 'charge', name: 'Charge', meter, price }] }),
})
const terms = (start: string, end: string, zone: string): Terms => ({
  ...{ startMs: at(start), endMs: at(end), zone, interval: 'month', every: 1, alignment: 'calendar' },
})

/** billing-cases P5 and P6, through the invoices of the periods. */
describe('calendar months of a zone whose clocks change', () => {
  test.each(['2023-03-01T05:00Z', '2023-03-20T12:00Z'])(
    'P5: the invoices of a customer of New York who started at %s count March 3, April 4, May 2',
    (start) => {
      const march = ['2023-03-01T04:00-05:00', '2023-03-15T00:00-04:00', '2023-03-31T23:59-04:00']
      const april = [
        '2023-04-01T00:00-04:00',
        '2023-04-01T00:01-04:00',
        '2023-04-15T00:00-04:00',
        '2023-04-30T23:59-04:00',
      ]
      const events = [...march, ...april, '2023-05-01T00:00-04:00', '2023-05-01T00:01-04:00'].map(at)
      const periods = [...periodsFrom(terms(start, '2023-06-01T04:00Z', 'America/New_York'), at(start))]
      const totals = periods.map((period) => {
        // What came before the start of the subscription counts in the whole month, as it does in the case.
        const within = events.filter((ms) => ms >= period.wholeStartMs && ms < period.wholeEndMs).length
        const usage = { quantity: parseQuantity(String(within)), events: within, digest: 0n }
        return draftInvoice(planOf({ model: 'per_unit', unit_amount: '1' }, 'units'), period, () => usage, 'UTC')
          .totalMinor
      })
      expect(totals).toEqual([300n, 400n, 200n])
    },
  )

  test('P6: 18 months of 249.95 in Juneau are 18 invoices of exactly that, of which none is prorated', () => {
    const juneau = terms('2022-11-01T08:00Z', '2024-05-01T08:00Z', 'America/Juneau')
    const plan = planOf({ model: 'flat', amount: '249.95' }, null)
    const invoices = [...periodsFrom(juneau, juneau.startMs)].map((period) =>
      draftInvoice(plan, period, () => expect.fail('a flat price has no usage'), 'UTC'),
    )
    expect(invoices.map(({ totalMinor }) => totalMinor)).toEqual(Array.from({ length: 18 }, () => 24_995n))
    const entries = invoices.flatMap(({ lines }) => lines.flatMap(({ breakdown }) => breakdown))
    expect(entries.map(({ type }) => type)).toEqual(Array.from({ length: 18 }, () => 'flat'))
  })
})
