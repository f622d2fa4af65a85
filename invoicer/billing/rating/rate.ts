import { Problem } from '../../../schemas/http/problem.ts'
import { roundToMinor } from '../../../schemas/money.ts'
import { formatQuantity, type Quantity } from '../../../schemas/quantity.ts'
import { bounded, isBounded } from './bounds.ts'
import type { BreakdownEntry, Rated, UsedEvent } from './breakdown.ts'
import { type CountedPrice, type Tally, tallyOf } from './counting.ts'
import { rateDynamic } from './dynamic.ts'
import { rateFlat } from './flat.ts'
import { rateGraduated } from './graduated.ts'
import { rateGraduatedPercentage } from './graduated-percentage.ts'
import { beyondIncluded } from './included-units.ts'
import { rateCells } from './matrix.ts'
import { ratePackage } from './package.ts'
import { ratePerUnit } from './per-unit.ts'
import { rateFees } from './percentage.ts'
import type { Price } from './price.ts'
import { priceDecimal } from './price-decimal.ts'
import { rateVolume } from './volume.ts'

/** What a line shows: the amount in minor units, and how it came about before rounding. */
export type RatedLine = { amountMinor: bigint; breakdown: BreakdownEntry[] }

/**
 * Rates one charge: the one rounding of its line, after everything else. A minimum is a line of its own.
 * @throws Problem invalid_request for an unknown currency.
 */
export function rateCharge(price: Price, quantity: Quantity, currency: string, used?: Used): RatedLine {
  const { exact, breakdown } = rateExact(price, quantity, used)
  return { amountMinor: roundToMinor(exact, currency), breakdown }
}

/** What a quantity is made of: events in order, or what they come to for the price. */
export type Used = readonly UsedEvent[] | Tally

/**
 * The exact amount of a checked price (see `checkPrice`) for a quantity, in major units. `used` is what it is made of;
 * left out, it counts as one event without properties.
 */
export function rateExact(price: Price, quantity: Quantity, used?: Used): Rated {
  const rated = rateIncluded(price, quantity, used)
  if (!isBounded(price)) return rated
  const { exact, entries } = bounded(price, rated.exact)
  return { exact, breakdown: [...rated.breakdown, ...entries] }
}

/** The amount before discount and maximum: the model on what is beyond the included units. */
export function rateIncluded(price: Price, quantity: Quantity, used?: Used): Rated {
  if (price.included_units === undefined) return rateModel(price, quantity, quantity, used)
  const { value: included } = priceDecimal(price.included_units)
  if (included.isZero()) return rateModel(price, quantity, quantity, used)
  const beyond = beyondIncluded(quantity, included)
  const { exact, breakdown } = rateModel(price, beyond, quantity, used)
  const entry: BreakdownEntry = { type: 'included', quantity: formatQuantity(quantity.minus(beyond)), amount: '0' }
  return { exact, breakdown: [entry, ...breakdown] }
}

/** A tally has left the included units out already; events still hold them. */
function talliedFor(price: CountedPrice, whole: Quantity, used: Used | undefined): Tally {
  if (used === undefined) return tallyOf(price, [{ value: whole }])
  return 'kind' in used ? used : tallyOf(price, used)
}

/** `whole` is the quantity with the included units. */
function rateModel(price: Price, quantity: Quantity, whole: Quantity, used: Used | undefined): Rated {
  switch (price.model) {
    case 'flat':
      return rateFlat(price)
    case 'per_unit':
      return ratePerUnit(price, quantity)
    case 'graduated':
      return rateGraduated(price, quantity)
    case 'volume':
      return rateVolume(price, quantity)
    case 'package':
      return ratePackage(price, quantity)
    case 'percentage':
      return rateFees(price, ofKind('fees', talliedFor(price, whole, used)))
    case 'graduated_percentage':
      return rateGraduatedPercentage(price, quantity)
    case 'dynamic':
      return rateDynamic(price, quantity)
    case 'matrix':
      return rateCells(price, ofKind('cells', talliedFor(price, whole, used)))
  }
}

/** What was stored with a line may be anything. */
function ofKind<Kind extends Tally['kind']>(kind: Kind, tally: Tally): Extract<Tally, { kind: Kind }> {
  if (tally.kind === kind) return tally as Extract<Tally, { kind: Kind }>
  throw new Problem('calculation_failed', `The events were counted as ${tally.kind}, and the price needs ${kind}.`)
}
