/** A decimal as a whole number of its last place: 1.5 is 15 with 1 place. Sums and products are exact. */
export type Decimal = { digits: bigint; places: number }

export const NOTHING: Decimal = { digits: 0n, places: 0 }

export function decimal(given: string | number): Decimal {
  const [, sign, whole = '', fraction = '', power = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(given))!
  const digits = BigInt(`${sign}${whole}${fraction}`)
  const places = fraction.length - Number(power)
  return places < 0 ? { digits: digits * 10n ** BigInt(-places), places: 0 } : { digits, places }
}

export function plus(a: Decimal, b: Decimal): Decimal {
  const places = Math.max(a.places, b.places)
  return { digits: at(a, places) + at(b, places), places }
}

export const sum = (parts: readonly Decimal[]) => parts.reduce(plus, NOTHING)
export const minus = (a: Decimal, b: Decimal) => plus(a, { ...b, digits: -b.digits })
export const times = (a: Decimal, b: Decimal): Decimal => ({ digits: a.digits * b.digits, places: a.places + b.places })
export const percent = (a: Decimal): Decimal => ({ ...a, places: a.places + 2 })
export const isAbove = (a: Decimal, b: Decimal) => minus(a, b).digits > 0n
export const lesser = (a: Decimal, b: Decimal) => (isAbove(a, b) ? b : a)
export const greater = (a: Decimal, b: Decimal) => (isAbove(a, b) ? a : b)

/** In units of the last of so many places, halves away from zero. */
export function rounded({ digits, places }: Decimal, wanted: number): bigint {
  if (places <= wanted) return digits * 10n ** BigInt(wanted - places)
  const unit = 10n ** BigInt(places - wanted)
  const size = digits < 0n ? -digits : digits
  const steps = (2n * size + unit) / (2n * unit)
  return digits < 0n ? -steps : steps
}

/** How many whole times b goes into a; neither is negative. */
export function timesWithin(a: Decimal, b: Decimal): { whole: bigint; isRest: boolean } {
  const places = Math.max(a.places, b.places)
  const [above, below] = [at(a, places), at(b, places)]
  return { whole: above / below, isRest: above % below !== 0n }
}

function at({ digits, places }: Decimal, wanted: number): bigint {
  return digits * 10n ** BigInt(wanted - places)
}
