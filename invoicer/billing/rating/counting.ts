import { parseQuantity } from '../../../schemas/quantity.ts'
import type { UsedEvent } from './breakdown.ts'
import { firstOnesIncluded } from './included-units.ts'
import { type CellTally, countCells } from './matrix.ts'
import { countFees, type FeeTally } from './percentage.ts'
import type { MatrixPrice, PercentagePrice } from './price.ts'

/** A price that may need more than a total. */
export type CountedPrice = MatrixPrice | PercentagePrice
/** What the events of a quantity come to for a price, so that it can be rated without them. Decimals are text. */
export type Tally = CellTally | FeeTally
/** Takes events one after the other, `times` alike at once, and keeps sums alone: there may be millions. */
export type Counting<T extends Tally = Tally> = { add: (event: UsedEvent, times?: number) => void; tally: () => T }

/** Counts events in their order: those within the included units are left out, of one that crosses them the rest counts. */
export function countingOf(price: CountedPrice): Counting {
  const counting = price.model === 'matrix' ? countCells(price) : countFees(price)
  const included = parseQuantity(price.included_units ?? '0')
  if (included.isZero()) return counting
  const beyondOf = firstOnesIncluded(included)
  return {
    add: (event) => {
      const beyond = beyondOf(event)
      if (beyond !== undefined) counting.add(beyond)
    },
    tally: counting.tally,
  }
}

export function tallyOf(price: CountedPrice, events: readonly UsedEvent[]): Tally {
  const counting = countingOf(price)
  for (const event of events) counting.add(event)
  return counting.tally()
}
