import { describe, expect, test } from 'vitest'
import { isCountry } from '../../../../invoicer/agreements/customers/country.ts'
import { EU_COUNTRIES } from '../../../../invoicer/agreements/customers/eu.ts'
import { openRateOn } from '../../../../invoicer/billing/tax/open-rates.ts'
import { type OwnRate, rateOnOf } from '../../../../invoicer/billing/tax/rates-of.ts'

const on = (country: string, day: string, own: readonly OwnRate[] = []) => rateOnOf(own)(country, day)?.ratePercent

describe('rates of the open data', () => {
  test.each([
    ['GR', '2023-12-01', '24'],
    ['FI', '2024-08-31', '24'],
    ['FI', '2024-09-01', '25.5'],
    ['DE', '2020-06-30', '19'],
    ['DE', '2020-07-01', '16'],
    ['DE', '2020-12-31', '16'],
    ['DE', '2021-01-01', '19'],
    ['CH', '2023-12-31', '7.7'],
    ['CH', '2024-01-01', '8.1'],
    ['EE', '2025-06-30', '22'],
    ['EE', '2025-07-01', '24'],
    ['AU', '2024-01-01', '10'],
    // The data lacks these changes, or has them a day late.
    ['LI', '2023-12-31', '7.7'],
    ['LI', '2024-01-01', '8.1'],
    ['RO', '2025-07-31', '19'],
    ['RO', '2025-08-01', '21'],
    ['TR', '2023-07-09', '18'],
    ['TR', '2023-07-10', '20'],
  ])('%s on %s: %s %%', (country, day, rate) => {
    expect(on(country, day)).toBe(rate)
  })

  test('VAT and GST are told apart, and the rate of a country is that of none of its regions', () => {
    expect(openRateOn('AU', '2024-01-01')).toMatchObject({ kind: 'gst', ratePercent: '10' })
    expect(openRateOn('CA', '2024-01-01')).toMatchObject({ kind: 'gst', ratePercent: '5' })
    expect(openRateOn('US', '2024-01-01')).toBeUndefined()
    expect(openRateOn('XX', '2024-01-01')).toBeUndefined()
  })

  test('what is known to be wrong is no rate, until there is one of one’s own', () => {
    const wrong = ['BH', 'EC', 'KW', 'LK', 'PK', 'QA', 'TH']
    expect(wrong.map((country) => on(country, '2024-05-01'))).toEqual(wrong.map(() => undefined))
    const own = {
      country: 'TH',
      region: null,
      taxClass: null,
      kind: 'vat',
      ratePercent: '7',
      from: '2024-01-01',
      until: null,
    }
    expect(on('TH', '2024-05-01', [own])).toBe('7')
  })

  test('every member state of the Union has a rate between the least it allows and 27 %', () => {
    for (const country of EU_COUNTRIES) {
      const rate = Number(on(country, '2026-01-01'))
      expect([country, rate >= 15 && rate <= 27 && isCountry(country)]).toEqual([country, true])
    }
  })
})

test('a rate of one’s own wins while it is in force, the latest of several; before and behind it is the open data', () => {
  const from = (day: string, ratePercent: string, until: string | null = null): OwnRate => ({
    country: 'GR',
    region: null,
    taxClass: null,
    kind: 'vat',
    ratePercent,
    from: day,
    until,
  })
  const own = [from('2024-01-01', '13', '2024-03-01'), from('2024-02-01', '6', '2024-02-10'), from('2025-01-01', '0')]
  const seen = ['2023-12-31', '2024-01-01', '2024-02-01', '2024-02-10', '2024-03-01', '2025-01-01']
  expect(seen.map((day) => on('GR', day, own))).toEqual(['24', '13', '6', '13', '24', '0'])
  expect(on('FI', '2024-02-01', own)).toBe('24')
})
