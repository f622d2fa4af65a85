import { describe, expect, test } from 'vitest'
import { type InvoiceTexts, mergedTexts, NO_TEXTS } from '../../../../invoicer/agreements/invoice-settings/texts.ts'

const texts = (given: Partial<InvoiceTexts>): InvoiceTexts => ({ ...NO_TEXTS, ...given })
const branding = { name: 'A', addressLines: [], logoUrl: null, primaryColour: null, accentColour: null }

describe('the texts of an invoice (SUB-2)', () => {
  test('are those of the nearest owner that says something; fields name by name, branding whole', () => {
    const tenant = texts({ customFields: { a: '1', b: '1' }, memo: 'm1', footer: 'f1', branding })
    const entity = texts({ branding: { ...branding, name: null, logoUrl: 'https://a.example/logo' } })
    const customer = texts({ customFields: { b: '2', c: '2' }, memo: 'm2' })
    const subscription = texts({ customFields: { c: '3' } })
    expect(mergedTexts([tenant, entity, customer, subscription])).toEqual({
      customFields: { a: '1', b: '2', c: '3' },
      memo: 'm2',
      footer: 'f1',
      branding: entity.branding,
    })
  })

  test('are none where nobody has any', () => {
    expect(mergedTexts([])).toEqual(NO_TEXTS)
  })

  test('come to 20 fields at most, and the nearest owner keeps all of its own', () => {
    const fields = (of: string, count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`${of}${index}`, of]))
    const { customFields } = mergedTexts([
      texts({ customFields: fields('tenant', 20) }),
      texts({ customFields: fields('near', 18) }),
    ])
    const owners = Object.values(customFields)
    expect(owners).toHaveLength(20)
    expect(owners.filter((owner) => owner === 'near')).toHaveLength(18)
  })
})
