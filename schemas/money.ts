import { Type } from 'typebox'
import { Problem } from './http/problem.ts'
import { isQuantityText, parseQuantity, type Quantity, quantityOfInteger } from './quantity.ts'

/**
 * Minor-unit exponents of ISO 4217 list one as of 2026-01-01 (BGN withdrawn, XCG, ZWG and XAD in). Codes without a
 * minor unit (precious metals, units of account, the codes for tests and for no currency) are left out: nothing can be invoiced in them.
 */
const CODES_BY_EXPONENT: Readonly<Record<number, string>> = {
  0: 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF',
  2: `AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY
    COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
    INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR
    MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP
    STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG`,
  3: 'BHD IQD JOD KWD LYD OMR TND',
  4: 'CLF UYW',
}

const EXPONENT_OF_CODE: ReadonlyMap<string, number> = new Map(
  Object.entries(CODES_BY_EXPONENT).flatMap(([exponent, codes]) =>
    codes.split(/\s+/).map((code): [string, number] => [code, Number(exponent)]),
  ),
)

/** A currency on the wire. The pattern is not the whole check: {@link currencyExponent} knows the codes. */
export const CurrencyText = Type.String({
  pattern: '^[A-Z]{3}$',
  description: 'An ISO 4217 currency code.',
  examples: ['USD'],
})

/** An amount on the wire, in major units with exactly the decimals of its currency. */
export const MoneyText = Type.String({
  pattern: '^-?\\d+(\\.\\d{1,4})?$',
  description: 'An amount in major units, as text.',
  examples: ['31.84'],
})

/** Every code that can be invoiced, in alphabetical order. */
export function currencies(): string[] {
  return [...EXPONENT_OF_CODE.keys()].sort()
}

export function isCurrency(currency: string): boolean {
  return EXPONENT_OF_CODE.has(currency)
}

/**
 * Decimals of the minor unit: JPY 0, USD 2, KWD 3, CLF 4.
 * @throws Problem invalid_request for an unknown code.
 */
export function currencyExponent(currency: string): number {
  const exponent = EXPONENT_OF_CODE.get(currency)
  if (exponent === undefined) {
    throw new Problem('invalid_request', `${JSON.stringify(currency)} is not an active ISO 4217 currency.`)
  }
  return exponent
}

/** Minor units as text in major units: `formatMoney(2000n, 'USD')` is `20.00`. */
export function formatMoney(amountMinor: bigint, currency: string): string {
  const exponent = currencyExponent(currency)
  const sign = amountMinor < 0n ? '-' : ''
  const digits = (amountMinor < 0n ? -amountMinor : amountMinor).toString().padStart(exponent + 1, '0')
  if (exponent === 0) return sign + digits
  return `${sign}${digits.slice(0, -exponent)}.${digits.slice(-exponent)}`
}

/**
 * Text in major units as minor units; nothing is rounded.
 * @throws Problem invalid_request for a text that is no decimal, or a part smaller than the minor unit.
 */
export function parseMoney(text: string, currency: string): bigint {
  const exponent = currencyExponent(currency)
  const amount = isQuantityText(text) ? parseQuantity(text) : undefined
  if (amount === undefined || amount.decimalPlaces() > exponent) {
    throw new Problem(
      'invalid_request',
      `${JSON.stringify(text.slice(0, 60))} is not an amount in ${currency}, which has ${exponent} decimals.`,
    )
  }
  const amountMinor = minorOf(amount, exponent)
  if (!isStorable(amountMinor)) throw new Problem('invalid_request', `${text} ${currency} is too large an amount.`)
  return amountMinor
}

/** Minor units as an exact amount in major units. */
export function moneyAsQuantity(amountMinor: bigint, currency: string): Quantity {
  return quantityOfInteger(amountMinor).div(10 ** currencyExponent(currency))
}

/**
 * The only rounding of money: an exact amount in major units to minor units, half-up away from zero.
 * @throws Problem calculation_failed for what a 64-bit column cannot hold, invalid_request for an unknown currency.
 */
export function roundToMinor(amount: Quantity, currency: string): bigint {
  const amountMinor = minorOf(amount, currencyExponent(currency))
  if (!isStorable(amountMinor)) {
    throw new Problem('calculation_failed', `An amount of ${amount.toFixed(0)} ${currency} is too large to be stored.`)
  }
  return amountMinor
}

/** The same rounding for an amount that is shown and never stored: it may be of any size. */
export function roundToMinorOfAnySize(amount: Quantity, currency: string): bigint {
  return minorOf(amount, currencyExponent(currency))
}

/**
 * Splits a total by weights so that the parts sum to it: largest remainder, ties to the earlier part. A negative total
 * mirrors the split of its opposite.
 * @throws Problem calculation_failed for a negative weight, or for weights that sum to 0 under a total that does not.
 */
export function allocate(totalMinor: bigint, weights: readonly bigint[]): bigint[] {
  if (totalMinor < 0n) return allocate(-totalMinor, weights).map((part) => -part)
  if (weights.some((weight) => weight < 0n)) {
    throw new Problem('calculation_failed', 'An amount cannot be split by a negative weight.')
  }
  const weightSum = weights.reduce((sum, weight) => sum + weight, 0n)
  if (weightSum === 0n) {
    if (totalMinor === 0n) return weights.map(() => 0n)
    throw new Problem('calculation_failed', 'An amount cannot be split by weights that sum to 0.')
  }
  const parts = weights.map((weight, index) => {
    const share = totalMinor * weight
    return { index, floor: share / weightSum, remainder: share % weightSum }
  })
  const missing = totalMinor - parts.reduce((sum, part) => sum + part.floor, 0n)
  const byRemainder = [...parts].sort((a, b) => Number(b.remainder > a.remainder) - Number(b.remainder < a.remainder))
  const raised = new Set(byRemainder.slice(0, Number(missing)).map((part) => part.index))
  return parts.map((part) => part.floor + (raised.has(part.index) ? 1n : 0n))
}

function minorOf(amount: Quantity, exponent: number): bigint {
  return BigInt(amount.times(10 ** exponent).toFixed(0))
}

/** Whether a 64-bit column can hold it. */
export function isStorable(amountMinor: bigint): boolean {
  return BigInt.asIntN(64, amountMinor) === amountMinor
}
