import { roundToMinor } from '../../../schemas/money.ts'
import { formatQuantity, parseQuantity, type Quantity } from '../../../schemas/quantity.ts'
import { bounded } from './bounds.ts'
import type { BreakdownEntry, Rated, UsedEvent } from './breakdown.ts'
import { rateDynamic } from './dynamic.ts'
import { rateFlat } from './flat.ts'
import { rateGraduated } from './graduated.ts'
import { rateGraduatedPercentage } from './graduated-percentage.ts'
import { beyondIncluded, eventsBeyondIncluded } from './included-units.ts'
import { rateMatrix } from './matrix.ts'
import { ratePackage } from './package.ts'
import { ratePerUnit } from './per-unit.ts'
import { ratePercentage } from './percentage.ts'
import type { Price } from './price.ts'
import { rateVolume } from './volume.ts'

/** What a line shows: the amount in minor units, and how it came about before rounding. */
export type RatedLine = { amountMinor: bigint; breakdown: BreakdownEntry[] }

/**
 * Rates one charge: the one rounding of its line, after everything else. A minimum is a line of its own.
 * @throws Problem invalid_request for an unknown currency.
 */
export function rateCharge(price: Price, quantity: Quantity, currency: string): RatedLine {
  const { exact, breakdown } = rateExact(price, quantity)
  return { amountMinor: roundToMinor(exact, currency), breakdown }
}

/**
 * The exact amount of a checked price (see `checkPrice`) for a quantity, in major units. `events` are what the quantity
 * is made of, in order; left out, it counts as one event without properties.
 */
export function rateExact(price: Price, quantity: Quantity, events?: readonly UsedEvent[]): Rated {
  const rated = rateIncluded(price, quantity, events)
  if (price.discount_percent === undefined && price.maximum_amount === undefined) return rated
  const { exact, entries } = bounded(price, rated.exact)
  return { exact, breakdown: [...rated.breakdown, ...entries] }
}

/** The amount before discount and maximum: the model on what is beyond the included units. */
export function rateIncluded(price: Price, quantity: Quantity, events?: readonly UsedEvent[]): Rated {
  if (price.included_units === undefined) return rateModel(price, quantity, events)
  const included = parseQuantity(price.included_units)
  if (included.isZero()) return rateModel(price, quantity, events)
  const beyond = beyondIncluded(quantity, included)
  const rest = needsEvents(price) ? eventsBeyondIncluded(eventsOf(quantity, events), included) : undefined
  const { exact, breakdown } = rateModel(price, beyond, rest)
  const entry: BreakdownEntry = { type: 'included', quantity: formatQuantity(quantity.minus(beyond)), amount: '0' }
  return { exact, breakdown: [entry, ...breakdown] }
}

/** Whether the total alone does not say what the events cost. */
function needsEvents({ model }: Price): boolean {
  return model === 'percentage' || model === 'matrix'
}

function eventsOf(quantity: Quantity, events: readonly UsedEvent[] | undefined): readonly UsedEvent[] {
  return events ?? [{ value: quantity }]
}

function rateModel(price: Price, quantity: Quantity, events: readonly UsedEvent[] | undefined): Rated {
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
      return ratePercentage(price, eventsOf(quantity, events))
    case 'graduated_percentage':
      return rateGraduatedPercentage(price, quantity)
    case 'dynamic':
      return rateDynamic(price, quantity)
    case 'matrix':
      return rateMatrix(price, eventsOf(quantity, events))
  }
}
