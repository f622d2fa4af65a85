import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openRateOn } from '../../../../invoicer/billing/tax/open-rates.ts'
import { type OwnRate, rateOnOf, regionalIn } from '../../../../invoicer/billing/tax/rates-of.ts'
import { partsOfCode, regionOf, taxCode } from '../../../../invoicer/billing/tax/tax-place.ts'
import { taxTerms } from '../../../../invoicer/billing/tax/tax-terms.ts'
import { contextOf } from './contexts.ts'

const rate = (ratePercent: string, change: Partial<OwnRate> = {}): OwnRate => ({
  ...{ country: 'CA', region: null, taxClass: null, kind: 'gst', ratePercent, from: '2020-01-01', until: null },
  ...change,
})
/** A seller that is registered in Canada, and who buys there. */
const inCanada = (own: readonly OwnRate[], region: string | null, country = 'CA') => ({
  ...contextOf({
    seller: { country: 'CA', registrations: [{ country: 'CA', number: '1' }] },
    buyer: { country, region },
  }),
  rateOn: rateOnOf(own),
  regional: regionalIn(own),
})

/** Issue 7: tax by class and region; the most specific wins. */
describe('the rate of what is sold where', () => {
  const own = [
    rate('5'),
    rate('6', { taxClass: 'saas' }),
    rate('15', { region: 'CA-NS', kind: 'hst' }),
    rate('0', { region: 'CA-NS', taxClass: 'books' }),
  ]
  const seen = (region: string | null, taxClass?: string) => {
    const { ratePercent, code, reason } = taxTerms(inCanada(own, region), '2024-01-01', taxClass)
    return `${ratePercent} ${code} ${reason}`
  }

  test('of region and class, of the region, of country and class, of the country, in this order', () => {
    expect(seen('NS', 'books')).toBe('0 CA-NS-GST/books not_taxable')
    expect(seen('CA-NS', 'saas')).toBe('15 CA-NS-HST standard_rate')
    expect(seen('ns')).toBe('15 CA-NS-HST standard_rate')
    expect(seen('QC', 'saas')).toBe('6 CA-GST/saas standard_rate')
    expect(seen('QC', 'books')).toBe('5 CA-GST standard_rate')
    expect(seen('QC')).toBe('5 CA-GST standard_rate')
  })

  test('is not guessed where the region is unclear and matters: it says what to set', () => {
    expect(() => seen(null)).toThrow('set the region of the billing address of customer "a"')
    expect(() => seen('Nova Scotia', 'saas')).toThrow('ISO 3166-2, as CA-…')
    // Where no rate is of a region, nobody asks for one.
    const { ratePercent } = taxTerms(inCanada([rate('5')], 'Nova Scotia'), '2024-01-01')
    expect(ratePercent).toBe('5')
  })

  test('without a rate of its own is that of the open data', () => {
    const terms = taxTerms(inCanada([rate('9', { taxClass: 'saas' })], null), '2024-01-01', 'books')
    expect(terms).toMatchObject({ ratePercent: openRateOn('CA', '2024-01-01')?.ratePercent, reason: 'standard_rate' })
  })

  test('is reduced where the class has less than anything else in the same place, and only there', () => {
    const seenOf = (percent: string, region: string | null) =>
      taxTerms(inCanada([...own, rate(percent, { taxClass: 'food' })], region), '2024-01-01', 'food').reason
    expect(['4.999', '5', '5.001'].map((percent) => seenOf(percent, 'QC'))).toEqual([
      ...['reduced_rate', 'standard_rate', 'standard_rate'],
    ])
    expect(
      taxTerms(inCanada([...own, rate('14', { region: 'CA-NS', taxClass: 'food' })], 'NS'), '2024-01-01', 'food'),
    ).toMatchObject({ ratePercent: '14', reason: 'reduced_rate' })
  })

  test('needs no region where those of a region are not in force, or of another class', () => {
    const past = rate('15', { region: 'CA-NS', until: '2022-01-01' })
    const future = rate('15', { region: 'CA-NS', from: '2025-01-01' })
    const books = rate('0', { region: 'CA-NS', taxClass: 'books' })
    const context = inCanada([rate('5'), past, future, books], null)
    expect(taxTerms(context, '2024-01-01')).toMatchObject({ ratePercent: '5' })
    expect(taxTerms(context, '2024-01-01', 'saas')).toMatchObject({ ratePercent: '5' })
    expect(() => taxTerms(context, '2024-01-01', 'books')).toThrow('set the region')
    expect(() => taxTerms(context, '2021-12-31')).toThrow('set the region')
    expect(() => taxTerms(context, '2025-01-01')).toThrow('set the region')
  })

  test('is found among any rates as by looking through all of them', () => {
    const some = fc.record({
      country: fc.constantFrom('CA', 'GR'),
      region: fc.option(fc.constantFrom('CA-NS', 'CA-QC')),
      taxClass: fc.option(fc.constantFrom('saas', 'books')),
      ratePercent: fc.nat(99).map(String),
      from: fc.constantFrom('2020-01-01', '2021-01-01', '2022-01-01'),
      until: fc.option(fc.constantFrom('2023-01-01', '2024-01-01')),
    })
    const asked = fc.record({
      day: fc.constantFrom('2020-06-01', '2022-06-01', '2023-06-01', '2025-06-01'),
      region: fc.constantFrom(undefined, 'CA-NS', 'CA-QC'),
      taxClass: fc.constantFrom(undefined, 'saas', 'books'),
    })
    const unique = { selector: (one: Partial<OwnRate>) => [one.country, one.region, one.taxClass, one.from].join() }
    fc.assert(
      fc.property(fc.uniqueArray(some, unique), asked, (list, { day, region, taxClass }) => {
        const own = list.map((one) => rate(one.ratePercent, one))
        const fits = own
          .filter(({ country, from, until }) => country === 'CA' && from <= day && (until ?? '9') > day)
          .filter((one) => one.region === null || one.region === region)
          .filter((one) => one.taxClass === null || one.taxClass === taxClass)
          .map((one) => ({ one, weight: (one.region === null ? 0 : 2) + (one.taxClass === null ? 0 : 1) }))
          .toSorted((a, b) => b.weight - a.weight || (a.one.from < b.one.from ? 1 : -1))
        const expected = fits[0]?.one.ratePercent ?? openRateOn('CA', day)?.ratePercent
        expect(rateOnOf(own)('CA', day, { region, taxClass })?.ratePercent).toBe(expected)
        // A region is asked for where one of them would have a rate that is its own.
        const differs = ['CA-NS', 'CA-QC'].some(
          (at) => rateOnOf(own)('CA', day, { region: at, taxClass })?.region != null,
        )
        expect(regionalIn(own)('CA', day, taxClass)).toBe(differs)
      }),
    )
  })
})

describe('names', () => {
  test('a region is a code of its country, however it is written; a name is none', () => {
    const seen = ['QC', 'ca-qc', ' CA-QC ', 'Québec', '', null, 'US-NY'].map((text) => regionOf('CA', text))
    expect(seen).toEqual(['CA-QC', 'CA-QC', 'CA-QC', undefined, undefined, undefined, undefined])
  })

  test('a tax code says where, which tax and which class, and is taken apart into them', () => {
    const place = fc.constantFrom('GR', 'CA-QC', 'US-NY', 'JP-13')
    const kind = fc.constantFrom('vat', 'gst', 'sales_tax')
    const taxClass = fc.option(fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,9}$/), { nil: undefined })
    fc.assert(
      fc.property(place, kind, taxClass, (where, which, what) => {
        const region = where.length > 2 ? where : null
        const code = `${where}-${which.toUpperCase()}`
        expect(partsOfCode(taxCode(where, which, what))).toEqual({ code, region, taxClass: what ?? null })
      }),
    )
  })
})
