import { expect, test } from 'vitest'
import { type StripeTaxes, stripeTerms } from '../../../../invoicer/billing/tax/stripe-terms.ts'

type Part = StripeTaxes['parts'][number]
const part = (change: Partial<Part> = {}): Part => ({
  ...{ percentage: '19.0', country: 'DE', state: null, kind: 'vat', reason: 'standard_rated', taxableMinor: 10_000n },
  ...change,
})
const GREECE = { country: 'GR', certificate: 'C-1' }
const terms = (taxMinor: bigint, ...parts: Part[]) => stripeTerms({ taxMinor, parts }, 10_000n, GREECE)

test('one tax of one country', () => {
  expect(terms(1_900n, part())).toEqual({
    ...{ ratePercent: '19', code: 'DE-VAT', reason: 'standard_rate', certificate: null },
  })
  expect(terms(700n, part({ percentage: '7', reason: 'reduced_rated' }))).toMatchObject({
    ...{ ratePercent: '7', reason: 'reduced_rate' },
  })
})

test('the rates of state, county and city are added up', () => {
  const ny = { country: 'US', state: 'NY', kind: 'sales_tax' }
  const parts = ['4.0', '4.5', '0.375'].map((percentage) => part({ ...ny, percentage }))
  expect(terms(888n, ...parts)).toMatchObject({ ratePercent: '8.875', code: 'US-NY-SALES_TAX' })
})

test('of what is taxable only in part the rate is the one that makes the same tax', () => {
  const texas = part({ country: 'US', state: 'TX', kind: 'sales_tax', percentage: '6.25', taxableMinor: 8_000n })
  expect(terms(500n, { ...texas, reason: 'taxable_basis_reduced' })).toMatchObject({
    ...{ ratePercent: '5', reason: 'reduced_rate' },
  })
  // A unit off is rounding.
  expect(terms(1_900n, part({ taxableMinor: 9_999n }))).toMatchObject({ ratePercent: '19' })
})

test.each([
  ['reverse_charge', 'reverse_charge'],
  ['not_collecting', 'not_registered'],
  ['product_exempt', 'not_taxable'],
  ['zero_rated', 'not_taxable'],
])('without tax because of %s the reason is %s', (reason, expected) => {
  expect(terms(0n, part({ percentage: '0.0', reason, kind: null, country: null }))).toEqual({
    ...{ ratePercent: '0', code: 'GR-TAX', reason: expected, certificate: null },
  })
})

test('who is exempt has a certificate, and nothing said is not taxable', () => {
  expect(terms(0n, part({ percentage: '0', reason: 'customer_exempt' }))).toMatchObject({
    ...{ reason: 'exempt', certificate: 'C-1' },
  })
  expect(terms(0n)).toMatchObject({ reason: 'not_taxable', ratePercent: '0' })
})

test('what Stripe does not support, or says anew, is not 0', () => {
  for (const reason of ['not_supported', 'said_in_2030']) {
    expect(() => terms(0n, part({ reason }))).toThrow(expect.objectContaining({ code: 'calculation_failed' }))
  }
})
