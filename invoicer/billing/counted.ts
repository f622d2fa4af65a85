import { Problem } from '../../schemas/http/problem.ts'
import { parsePath } from '../../schemas/meter/path.ts'
import type { Quantity } from '../../schemas/quantity.ts'
import type { Charge } from '../agreements/plans/plan.ts'
import { type AttributeUsage, countAttributes } from './attributes.ts'
import { type CountedPrice, countingOf, type Tally } from './rating/counting.ts'
import { feesOfAll } from './rating/percentage.ts'
import type { Price } from './rating/price.ts'
import { type Reading, readingOf } from './rating/reading.ts'
import type { MeteredUsage } from './usage.ts'

/** What is asked of single events: what a price needs to know, null where their sum is enough, and a line's attributes. */
export type EventDetail = { price: CountedPrice | null; attributes: readonly string[] }
/** What the events came to. It is stored with the line, which can be rated again from it; decimals are text. */
export type Counted = { tally: Tally | null; attributes: AttributeUsage | null }
/** Why they were not counted: whoever needs it cannot be billed. */
export type Uncounted = { refused: string }

/** Events alike: `each` is the value of one of them, `quantity` their sum, `properties` what stands in them. */
export type EventsAlike = { each: Quantity; quantity: Quantity; events: number; properties: Record<string, unknown> }

/** What a charge asks of single events; undefined where its total is enough, as of most. */
export function detailOf({ price, attributes = [] }: Charge<Price>): EventDetail | undefined {
  const counted = isCountedOneByOne(price) ? price : null
  return counted === null && attributes.length === 0 ? undefined : { price: counted, attributes }
}

function isCountedOneByOne(price: Price): price is CountedPrice {
  const reading = readingOf(price)
  return reading === 'events' || reading === 'order'
}

/** How the events have to be read. Their attributes alone may be read in any order. */
export function readingOfDetail({ price }: EventDetail): Reading {
  return price === null ? 'events' : readingOf(price)
}

/** The properties that are read: dotted paths inside an event's data, by the names that price and charge have for them. */
export function propertiesOf({ price, attributes }: EventDetail): { name: string; path: string[] }[] {
  const names = [...(price?.model === 'matrix' ? price.dimensions : []), ...attributes]
  return [...new Set(names)].map((name) => ({ name, path: parsePath(name, 'dimensions') }))
}

/** Counts events in the order in which they are added; with no more than sums in memory. */
export function countingDetail({ price, attributes }: EventDetail): {
  add: (alike: EventsAlike) => void
  counted: () => Counted
} {
  const counting = price && countingOf(price)
  const combinations = attributes.length === 0 ? null : countAttributes(attributes)
  return {
    add: ({ each, quantity, events, properties }) => {
      // A matrix adds quantities up; a percentage asks what each event costs.
      if (price?.model === 'matrix') counting?.add({ value: quantity, properties })
      else counting?.add({ value: each }, events)
      combinations?.add(properties, quantity, events)
    },
    counted: () => ({ tally: counting?.tally() ?? null, attributes: combinations?.usage() ?? null }),
  }
}

/** What is stored of a line's events; undefined where its total is all that it needs. */
export function countedIn({ counted }: MeteredUsage): Counted | undefined {
  return counted === undefined || 'refused' in counted ? undefined : counted
}

/**
 * What a line's quantity is made of, as its price needs it; undefined where the total is enough: then a line is billed
 * whether its attributes could be counted or not, and lists none in the latter case.
 * @throws Problem calculation_failed where events were not counted.
 */
export function usedBy(price: Price, { quantity, events, counted }: MeteredUsage): Tally | undefined {
  if (price.model !== 'matrix' && price.model !== 'percentage') return undefined
  const reading = readingOf(price)
  if (reading === 'total') return undefined
  const isRefused = counted !== undefined && 'refused' in counted
  if (isRefused && reading !== 'count') throw new Problem('calculation_failed', counted.refused)
  if (events === 0) return countingOf(price).tally()
  if (reading === 'count' && price.model === 'percentage') return feesOfAll(events, quantity)
  if (!isRefused && counted?.tally) return counted.tally
  throw new Problem('calculation_failed', 'The events of a price that needs them one by one were not counted.')
}
