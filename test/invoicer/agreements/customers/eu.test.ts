import { describe, expect, test } from 'vitest'
import {
  EU_COUNTRIES,
  isEuVatNumber,
  isInEu,
  isVatNumberOf,
  plainVatNumber,
  vatCountryOf,
} from '../../../../invoicer/agreements/customers/eu.ts'

/** One of each member state, as the European Commission describes their structure. */
const VALID: Readonly<Record<string, string[]>> = {
  AT: ['ATU12345678'],
  BE: ['BE0123456789', 'BE1234567890'],
  BG: ['BG123456789', 'BG1234567890'],
  CY: ['CY12345678X'],
  CZ: ['CZ12345678', 'CZ123456789', 'CZ1234567890'],
  DE: ['DE123456789', 'de 123.456-789'],
  DK: ['DK12345678', 'DK 12 34 56 78'],
  EE: ['EE123456789'],
  ES: ['ESX12345678', 'ES12345678X', 'ESX1234567X'],
  FI: ['FI12345678'],
  FR: ['FR12345678901', 'FRX1234567890', 'FR1X123456789', 'FRXX123456789'],
  GR: ['EL123456789', 'GR123456789', 'gr 123 456 789'],
  HR: ['HR12345678901'],
  HU: ['HU12345678'],
  IE: ['IE1234567W', 'IE1234567WA', 'IE1A12345W', 'IE1+12345W', 'IE1*12345W'],
  IT: ['IT12345678901'],
  LT: ['LT123456789', 'LT123456789012'],
  LU: ['LU12345678'],
  LV: ['LV12345678901'],
  MT: ['MT12345678'],
  NL: ['NL123456789B01'],
  PL: ['PL1234567890'],
  PT: ['PT123456789'],
  RO: ['RO12', 'RO1234567890'],
  SE: ['SE123456789012'],
  SI: ['SI12345678'],
  SK: ['SK1234567890'],
}

describe('VAT numbers of the European Union', () => {
  test('there are 27 member states', () => {
    expect(EU_COUNTRIES).toHaveLength(27)
    expect(Object.keys(VALID)).toEqual(EU_COUNTRIES)
    expect(['GB', 'CH', 'NO', 'US', 'EL', 'XX', 'constructor'].filter(isInEu)).toEqual([])
  })

  test.each(Object.entries(VALID))('%s has numbers like %j, and they are nobody else’s', (country, numbers) => {
    for (const number of numbers) {
      expect(isVatNumberOf(country, number)).toBe(true)
      expect(EU_COUNTRIES.filter((other) => isVatNumberOf(other, number))).toEqual([country])
      // Too long, too short, no prefix.
      expect(isVatNumberOf(country, `${number}000000000`)).toBe(false)
      expect(isVatNumberOf(country, number.slice(0, 3))).toBe(false)
      expect(isVatNumberOf(country, number.slice(2))).toBe(false)
    }
  })

  test.each([
    ['DE', 'DE12345678'],
    ['DE', 'DE1234567890'],
    ['DE', 'DE12345678A'],
    ['GR', 'GR12345678'],
    ['FR', 'FRO1123456789'],
    ['NL', 'NL123456789A01'],
    ['GB', 'GB123456789'],
    ['DE', ''],
    ['DE', 'DE123456789\n1'],
  ])('%s has none like %j', (country, number) => {
    expect(isVatNumberOf(country, number)).toBe(false)
  })

  test('they are kept as states write them', () => {
    expect([' gr 123.456-789', 'de 123 456 789', 'GR12345678'].map(plainVatNumber)).toEqual([
      'EL123456789',
      'DE123456789',
      'GR12345678',
    ])
    expect(['EL123456789', 'GR123456789', 'GB123456789', 'MC12345678901', ''].map(isEuVatNumber)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ])
  })

  test('Monaco counts as France, and the Isle of Man as the United Kingdom', () => {
    expect(['MC', 'IM', 'FR', 'JE'].map(vatCountryOf)).toEqual(['FR', 'GB', 'FR', 'JE'])
  })
})
