import { describe, expect, test } from 'vitest'
import { taxTerms } from '../../../../invoicer/billing/tax/tax-terms.ts'
import { type ContextChange, contextOf } from './contexts.ts'

const DAY = '2023-12-01'
const terms = (change: ContextChange) => {
  const { ratePercent, code, reason, certificate } = taxTerms(contextOf(change), DAY)
  return [ratePercent, code, reason, certificate]
}
const german = { country: 'DE', taxIds: [{ type: 'eu_vat', value: 'DE123456789' }] }
const exempt = { reason: 'charity', certificate: 'C-77' }

describe('which tax a supply bears; the seller is Greek and registered in Greece', () => {
  test.each<[string, ContextChange, string[] | (string | null)[]]>([
    ['at home', {}, ['24', 'GR-VAT', 'standard_rate', null]],
    [
      'a business at home with its number',
      { buyer: { taxIds: [{ type: 'eu_vat', value: 'EL123456789' }] } },
      ['24', 'GR-VAT', 'standard_rate', null],
    ],
    ['a business of another member state with its number', { buyer: german }, ['0', 'DE-VAT', 'reverse_charge', null]],
    [
      'a number that is none',
      { buyer: { ...german, taxIds: [{ type: 'eu_vat', value: 'DE12345' }] } },
      ['19', 'DE-VAT', 'standard_rate', null],
    ],
    [
      'a number of a third member state',
      { buyer: { ...german, country: 'FR' } },
      ['20', 'FR-VAT', 'standard_rate', null],
    ],
    [
      'a number of another kind',
      { buyer: { ...german, taxIds: [{ type: 'de_stn', value: 'DE123456789' }] } },
      ['19', 'DE-VAT', 'standard_rate', null],
    ],
    ['a business abroad without a number', { buyer: { country: 'DE' } }, ['19', 'DE-VAT', 'standard_rate', null]],
    [
      'a consumer abroad, though with a number',
      { buyer: { ...german, kind: 'consumer' } },
      ['19', 'DE-VAT', 'standard_rate', null],
    ],
    [
      'a consumer abroad, taxed at home',
      { buyer: { country: 'DE', kind: 'consumer' }, tax: { euConsumers: 'origin' } },
      ['24', 'GR-VAT', 'standard_rate', null],
    ],
    ['outside the Union', { buyer: { country: 'US' } }, ['0', 'US-TAX', 'not_registered', null]],
    [
      'outside, registered there',
      { buyer: { country: 'AU' }, seller: { registrations: [{ country: 'AU', number: '1' }] } },
      ['10', 'AU-GST', 'standard_rate', null],
    ],
    ['at home, not registered', { seller: { registrations: [] } }, ['0', 'GR-VAT', 'not_registered', null]],
    [
      'a seller from outside who is registered in one member state: a business of another with its number',
      { seller: { country: 'US' }, buyer: german },
      ['0', 'DE-VAT', 'reverse_charge', null],
    ],
    [
      'such a seller, and a consumer of another member state',
      { seller: { country: 'US' }, buyer: { country: 'DE', kind: 'consumer' } },
      ['19', 'DE-VAT', 'standard_rate', null],
    ],
    [
      'such a seller, and a business where it is registered',
      { seller: { country: 'US', registrations: [{ country: 'DE', number: '1' }] }, buyer: german },
      ['19', 'DE-VAT', 'standard_rate', null],
    ],
    [
      'a seller from outside who is registered nowhere in the Union',
      { seller: { country: 'US', registrations: [{ country: 'US', number: '1' }] }, buyer: german },
      ['0', 'DE-VAT', 'not_registered', null],
    ],
    [
      'a seller of a member state who is registered in another one only',
      { seller: { registrations: [{ country: 'DE', number: '1' }] }, buyer: { country: 'FR' } },
      ['0', 'FR-VAT', 'not_registered', null],
    ],
    ['Monaco has the VAT of France', { buyer: { country: 'MC' } }, ['20', 'FR-VAT', 'standard_rate', null]],
    [
      'and its numbers',
      { buyer: { country: 'MC', taxIds: [{ type: 'eu_vat', value: 'FR12345678901' }] } },
      ['0', 'FR-VAT', 'reverse_charge', null],
    ],
    [
      'a seller in Monaco sells at home in France',
      { seller: { country: 'MC', registrations: [{ country: 'MC', number: '1' }] }, buyer: { country: 'FR' } },
      ['20', 'FR-VAT', 'standard_rate', null],
    ],
    [
      'the Isle of Man has that of the United Kingdom',
      { seller: { registrations: [{ country: 'GB', number: '1' }] }, buyer: { country: 'IM' } },
      ['20', 'GB-VAT', 'standard_rate', null],
    ],
    [
      'a Greek number is none of Germany, however it is written',
      { buyer: { country: 'DE', taxIds: [{ type: 'eu_vat', value: 'GR123456789' }] } },
      ['19', 'DE-VAT', 'standard_rate', null],
    ],
    [
      'a Greek business with such a number, sold to from Germany',
      {
        seller: { country: 'DE', registrations: [{ country: 'DE', number: '1' }] },
        buyer: { country: 'GR', taxIds: [{ type: 'vat', value: 'GR 123 456 789' }] },
      },
      ['0', 'GR-VAT', 'reverse_charge', null],
    ],
    ['who is exempt, wherever', { buyer: { ...german, taxExemption: exempt } }, ['0', 'DE-VAT', 'exempt', 'C-77']],
    [
      'who is exempt, without an address',
      { buyer: { country: null, taxExemption: exempt } },
      ['0', 'GR-VAT', 'exempt', 'C-77'],
    ],
  ])('%s', (_, change, expected) => {
    expect(terms(change)).toEqual(expected)
  })

  test('what is not known is never 0 %', () => {
    expect(() => terms({ buyer: { country: null } })).toThrow(
      'The tax of customer "a" is not known: set the country of its billing address.',
    )
    const registrations = [{ country: 'US', number: '1' }]
    expect(() => terms({ buyer: { country: 'US' }, seller: { registrations } })).toThrow(
      'There is no tax rate of US on 2023-12-01: add one to the tax rates.',
    )
  })

  test('the rate is that of the day', () => {
    const context = contextOf({ buyer: { country: 'FI' } })
    expect(taxTerms(context, '2024-08-31').ratePercent).toBe('24')
    expect(taxTerms(context, '2024-09-01').ratePercent).toBe('25.5')
  })
})
