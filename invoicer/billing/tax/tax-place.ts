/** ISO 3166-2: 'CA-QC'. A pattern of JSON Schema. */
export const REGION = '^[A-Z]{2}-[A-Z0-9]{1,3}$'

const OF_ADDRESS = /^[A-Z0-9]{1,3}$/
const CODE = /^([A-Z]{2}(?:-[A-Z0-9]{1,3})?)-([A-Z_]+)(?:\/(.+))?$/

/** The region of an address as ISO 3166-2 has it: 'QC' or 'CA-QC' in Canada; undefined for what is no code, as a name. */
export function regionOf(country: string, text: string | null): string | undefined {
  const code = (text ?? '').trim().toUpperCase()
  if (OF_ADDRESS.test(code)) return `${country}-${code}`
  return code.startsWith(`${country}-`) && OF_ADDRESS.test(code.slice(3)) ? code : undefined
}

/** Where, and which tax: 'GR-VAT', 'US-NY-SALES_TAX'; with the class whose rate it is, 'GR-VAT/saas'. */
export function taxCode(place: string, kind: string, taxClass?: string): string {
  const code = `${place}-${kind.toUpperCase()}`
  return taxClass === undefined ? code : `${code}/${taxClass}`
}

/** The same taken apart; null: the rate is that of the whole country, or of anything. */
export function partsOfCode(code: string): { code: string; region: string | null; taxClass: string | null } {
  const [, place = '', kind = '', taxClass = null] = CODE.exec(code) ?? []
  if (place === '') return { code, region: null, taxClass: null }
  return { code: `${place}-${kind}`, region: place.length > 2 ? place : null, taxClass }
}
