import { formatQuantity, parseQuantity, parseSum, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { BreakdownEntry, Rated, UsedEvent } from './breakdown.ts'
import type { PercentagePrice } from './price.ts'

type Counted = { events: number; quantity: string }
/** The events that are free whole, with what is free of others; those that pay; and what bounds per event changed. */
export type FeeTally = { kind: 'fees'; free: Counted; paid: Counted; raised: string; lowered: string }

/** Rate × paid part + fixed amount of each event in turn, within the bounds per event; a wholly free event pays nothing. */
export function ratePercentage(price: PercentagePrice, events: readonly UsedEvent[]): Rated {
  const counting = countFees(price)
  for (const event of events) counting.add(event)
  return rateFees(price, counting.tally())
}

/** Several events alike may be added at once where none is free. */
export function countFees(price: PercentagePrice): {
  add: (event: UsedEvent, times?: number) => void
  tally: () => FeeTally
} {
  const rate = parseQuantity(price.rate)
  const fixed = parseQuantity(price.fixed_amount ?? '0')
  const least = price.min_per_event === undefined ? undefined : parseQuantity(price.min_per_event)
  const most = price.max_per_event === undefined ? undefined : parseQuantity(price.max_per_event)
  const free = { events: 0, quantity: ZERO }
  const paid = { events: 0, quantity: ZERO }
  let raised = ZERO
  let lowered = ZERO
  const paidPartOf = freeOnes(price)
  return {
    add: ({ value }, times = 1) => {
      const part = paidPartOf(value)
      free.quantity = free.quantity.plus(part === undefined ? value : value.minus(part))
      if (part === undefined) {
        free.events += 1
        return
      }
      paid.events += times
      paid.quantity = paid.quantity.plus(part.times(times))
      if (least === undefined && most === undefined) return
      const fee = percentOf(part, rate).plus(fixed)
      if (least?.greaterThan(fee)) raised = raised.plus(least.minus(fee).times(times))
      else if (most?.lessThan(fee)) lowered = lowered.plus(most.minus(fee).times(times))
    },
    tally: () => ({
      kind: 'fees',
      free: { events: free.events, quantity: formatQuantity(free.quantity) },
      paid: { events: paid.events, quantity: formatQuantity(paid.quantity) },
      raised: formatQuantity(raised),
      lowered: formatQuantity(lowered),
    }),
  }
}

/** What so many events come to where each pays in full and none is bounded: their number and sum are enough. */
export function feesOfAll(events: number, quantity: Quantity): FeeTally {
  const paid = { events, quantity: formatQuantity(quantity) }
  return { kind: 'fees', free: { events: 0, quantity: '0' }, paid, raised: '0', lowered: '0' }
}

/** The breakdown has sums over the events, because there may be millions. */
export function rateFees(price: PercentagePrice, { free, paid, raised, lowered }: FeeTally): Rated {
  const rate = parseQuantity(price.rate)
  const fixed = parseQuantity(price.fixed_amount ?? '0')
  const rated = percentOf(parseSum(paid.quantity), rate)
  const fees = fixed.times(paid.events)
  const [added, taken] = [parseSum(raised), parseSum(lowered)]
  const breakdown: BreakdownEntry[] = []
  if (free.events > 0 || !parseSum(free.quantity).isZero()) {
    breakdown.push({ type: 'free', events: free.events, quantity: free.quantity, amount: '0' })
  }
  const shown = { quantity: paid.quantity, rate: formatQuantity(rate) }
  breakdown.push({ type: 'percentage', ...shown, amount: formatQuantity(rated) })
  if (!fixed.isZero()) {
    const amount = formatQuantity(fees)
    breakdown.push({ type: 'fixed', events: paid.events, fixed_amount: formatQuantity(fixed), amount })
  }
  if (price.min_per_event !== undefined && !added.isZero()) {
    const min_per_event = formatQuantity(parseQuantity(price.min_per_event))
    breakdown.push({ type: 'per_event_minimum', min_per_event, amount: raised })
  }
  if (price.max_per_event !== undefined && !taken.isZero()) {
    const max_per_event = formatQuantity(parseQuantity(price.max_per_event))
    breakdown.push({ type: 'per_event_maximum', max_per_event, amount: lowered })
  }
  return { exact: rated.plus(fees).plus(added).plus(taken), breakdown }
}

/**
 * Asked for one event after the other: the part of it that pays the rate, or undefined where it is wholly free. An event
 * is free while its index is within `free_events` and the running total within `free_units`, of which one that is unset
 * or 0 does not limit. Of the event that crosses `free_units` the part above pays. From there on everything pays.
 */
function freeOnes(price: PercentagePrice): (value: Quantity) => Quantity | undefined {
  const units = parseQuantity(price.free_units ?? '0')
  const most = Number(price.free_events ?? '0')
  let stillFree = most > 0 || units.greaterThan(0)
  let index = 0
  let total = ZERO
  return (value) => {
    if (!stillFree) return value
    index += 1
    total = total.plus(value)
    if (most > 0 && index > most) {
      stillFree = false
      return value
    }
    if (units.isZero() || total.lessThanOrEqualTo(units)) return undefined
    stillFree = false
    return total.minus(units)
  }
}

function percentOf(value: Quantity, rate: Quantity): Quantity {
  return value.times(rate).div(100)
}
