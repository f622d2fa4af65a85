/** VAT numbers of the member states without spaces, as the European Commission publishes their structure. */
const VAT_NUMBERS: Readonly<Record<string, RegExp>> = {
  AT: /^ATU\d{8}$/,
  BE: /^BE[01]\d{9}$/,
  BG: /^BG\d{9,10}$/,
  CY: /^CY\d{8}[A-Z]$/,
  CZ: /^CZ\d{8,10}$/,
  DE: /^DE\d{9}$/,
  DK: /^DK\d{8}$/,
  EE: /^EE\d{9}$/,
  ES: /^ES(?:[A-Z]\d{7}[A-Z\d]|\d{8}[A-Z])$/,
  FI: /^FI\d{8}$/,
  FR: /^FR[A-HJ-NP-Z\d]{2}\d{9}$/,
  GR: /^EL\d{9}$/,
  HR: /^HR\d{11}$/,
  HU: /^HU\d{8}$/,
  IE: /^IE(?:\d{7}[A-W][A-I]?|\d[A-Z+*]\d{5}[A-W])$/,
  IT: /^IT\d{11}$/,
  LT: /^LT(?:\d{9}|\d{12})$/,
  LU: /^LU\d{8}$/,
  LV: /^LV\d{11}$/,
  MT: /^MT\d{8}$/,
  NL: /^NL\d{9}B\d{2}$/,
  PL: /^PL\d{10}$/,
  PT: /^PT\d{9}$/,
  RO: /^RO[1-9]\d{1,9}$/,
  SE: /^SE\d{12}$/,
  SI: /^SI\d{8}$/,
  SK: /^SK\d{10}$/,
}

export const EU_COUNTRIES: readonly string[] = Object.keys(VAT_NUMBERS)

export function isInEu(country: string): boolean {
  return Object.hasOwn(VAT_NUMBERS, country)
}

/** Whose VAT a country has: Monaco counts as France, and the Isle of Man as the United Kingdom, their numbers included. */
export function vatCountryOf(country: string): string {
  return SAME_VAT[country] ?? country
}
const SAME_VAT: Readonly<Partial<Record<string, string>>> = { MC: 'FR', IM: 'GB' }

/** A VAT number as states write it: without spaces, dots and hyphens; Greek ones begin with EL. */
export function plainVatNumber(text: string): string {
  return text
    .trim()
    .toUpperCase()
    .replace(/[ .-]/g, '')
    .replace(/^GR(?=\d{9}$)/, 'EL')
}

/**
 * Whether a text has the structure of a VAT number of that member state, its prefix included, however it is written.
 * Whether the number was given to anybody is not asked.
 */
export function isVatNumberOf(country: string, text: string): boolean {
  const pattern = isInEu(country) ? VAT_NUMBERS[country] : undefined
  return pattern?.test(plainVatNumber(text)) ?? false
}

/** Whether it has the structure of any member state's. */
export function isEuVatNumber(text: string): boolean {
  return EU_COUNTRIES.some((country) => isVatNumberOf(country, text))
}
