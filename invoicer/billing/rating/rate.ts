import { roundToMinor } from '../../../schemas/money.ts'
import type { Quantity } from '../../../schemas/quantity.ts'
import { rateFlat } from './flat.ts'
import { rateGraduated } from './graduated.ts'
import { ratePerUnit } from './per-unit.ts'
import type { BreakdownEntry, Price, Rated } from './price.ts'

/** What a line shows: the amount in minor units, and how it came about before rounding. */
export type RatedLine = { amountMinor: bigint; breakdown: BreakdownEntry[] }

/** The exact amount of a checked price (see `checkPrice`) for a quantity, in major units. */
export function rateExact(price: Price, quantity: Quantity): Rated {
  switch (price.model) {
    case 'flat':
      return rateFlat(price, quantity)
    case 'per_unit':
      return ratePerUnit(price, quantity)
    case 'graduated':
      return rateGraduated(price, quantity)
  }
}

/**
 * Rates one charge: the one rounding of its line, after everything else.
 * @throws Problem invalid_request for an unknown currency.
 */
export function rateCharge(price: Price, quantity: Quantity, currency: string): RatedLine {
  const { exact, breakdown } = rateExact(price, quantity)
  return { amountMinor: roundToMinor(exact, currency), breakdown }
}
