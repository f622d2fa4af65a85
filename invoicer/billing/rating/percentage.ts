import { formatQuantity, parseQuantity, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { BreakdownEntry, Rated, UsedEvent } from './breakdown.ts'
import type { PercentagePrice } from './price.ts'

/**
 * Rate × paid part + fixed amount of each event in turn, within the bounds per event; a wholly free event pays nothing.
 * The breakdown has sums over the events, because there may be millions.
 */
export function ratePercentage(price: PercentagePrice, events: readonly UsedEvent[]): Rated {
  const rate = parseQuantity(price.rate)
  const fixed = parseQuantity(price.fixed_amount ?? '0')
  const least = price.min_per_event === undefined ? undefined : parseQuantity(price.min_per_event)
  const most = price.max_per_event === undefined ? undefined : parseQuantity(price.max_per_event)
  const free = { events: 0, quantity: ZERO }
  const paid = { events: 0, quantity: ZERO }
  let raised = ZERO
  let lowered = ZERO
  const paidPartOf = freeOnes(price)
  for (const { value } of events) {
    const part = paidPartOf(value)
    free.quantity = free.quantity.plus(part === undefined ? value : value.minus(part))
    if (part === undefined) {
      free.events += 1
      continue
    }
    paid.events += 1
    paid.quantity = paid.quantity.plus(part)
    if (least === undefined && most === undefined) continue
    const fee = percentOf(part, rate).plus(fixed)
    if (least?.greaterThan(fee)) raised = raised.plus(least.minus(fee))
    else if (most?.lessThan(fee)) lowered = lowered.plus(most.minus(fee))
  }
  const rated = percentOf(paid.quantity, rate)
  const fees = fixed.times(paid.events)
  const breakdown: BreakdownEntry[] = []
  if (free.events > 0 || !free.quantity.isZero()) {
    breakdown.push({ type: 'free', events: free.events, quantity: formatQuantity(free.quantity), amount: '0' })
  }
  const shown = { quantity: formatQuantity(paid.quantity), rate: formatQuantity(rate) }
  breakdown.push({ type: 'percentage', ...shown, amount: formatQuantity(rated) })
  if (!fixed.isZero()) {
    const amount = formatQuantity(fees)
    breakdown.push({ type: 'fixed', events: paid.events, fixed_amount: formatQuantity(fixed), amount })
  }
  if (least !== undefined && !raised.isZero()) {
    const amount = formatQuantity(raised)
    breakdown.push({ type: 'per_event_minimum', min_per_event: formatQuantity(least), amount })
  }
  if (most !== undefined && !lowered.isZero()) {
    const amount = formatQuantity(lowered)
    breakdown.push({ type: 'per_event_maximum', max_per_event: formatQuantity(most), amount })
  }
  return { exact: rated.plus(fees).plus(raised).plus(lowered), breakdown }
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
