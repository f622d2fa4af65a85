import { formatMoney, moneyAsQuantity, roundToMinorOfAnySize } from '../../../schemas/money.ts'
import { formatQuantity, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import { leastOf, trueUpMinor } from '../rating/bounds.ts'
import type { BreakdownEntry, UsedEvent } from '../rating/breakdown.ts'
import type { Price } from '../rating/price.ts'
import { rateExact } from '../rating/rate.ts'
import { badCase } from './bad-case.ts'
import { eventsAt } from './case-events.ts'
import { priceAt } from './case-price.ts'
import { booleanAt, currencyAt, decimalAt, isObject, type Members, memberOf, membersAt, moneyAt } from './case-shape.ts'
import { zoneAt } from './case-values.ts'

/** What stands between the exact amount and what is due; these are money. */
type DueEntry =
  | { type: 'rounding'; amount: string }
  | { type: 'true_up'; minimum_amount: string; amount: string }
  | { type: 'already_billed'; quantity?: string; amount: string }
export type PriceQuote = { amount: string; breakdown: (BreakdownEntry | DueEntry)[] }

type Used = { quantity: Quantity; events?: UsedEvent[] }
type Billed = { quantity?: string; amountMinor: bigint }

const MEMBERS = ['kind', 'currency', 'price', 'quantity', 'events', 'already_billed', 'final', 'timezone']

/**
 * What is due now: round(price(all units known)) − what is billed already, with the true-up if the period ends. The
 * amounts of the breakdown sum to it.
 */
export function quotePrice(input: unknown): PriceQuote {
  const members = membersAt(input, '', MEMBERS)
  const currency = currencyAt(members.currency, 'currency')
  const price = priceAt(members.price, 'price')
  const used = usedIn(members, price)
  const billed = members.already_billed === undefined ? undefined : billedAt(members.already_billed, currency)
  // A zone says nothing here; one that is none is a mistake.
  zoneAt(members.timezone, 'timezone')
  const isFinal = members.final === undefined || booleanAt(members.final, 'final')

  const { exact, breakdown } = rateExact(price, used.quantity, used.events)
  const lineMinor = roundToMinorOfAnySize(exact, currency)
  const entries: PriceQuote['breakdown'] = [...breakdown]
  const rounding = moneyAsQuantity(lineMinor, currency).minus(exact)
  if (!rounding.isZero()) entries.push({ type: 'rounding', amount: formatQuantity(rounding) })
  let dueMinor = lineMinor
  const minimum = leastOf(price)
  if (isFinal && minimum !== undefined) {
    const missingMinor = trueUpMinor(roundToMinorOfAnySize(minimum, currency), lineMinor)
    dueMinor += missingMinor
    const minimum_amount = formatQuantity(minimum)
    if (missingMinor > 0n)
      entries.push({ type: 'true_up', minimum_amount, amount: formatMoney(missingMinor, currency) })
  }
  if (billed !== undefined) {
    dueMinor -= billed.amountMinor
    const amount = formatMoney(-billed.amountMinor, currency)
    entries.push({ type: 'already_billed', ...(billed.quantity ? { quantity: billed.quantity } : {}), amount })
  }
  return { amount: formatMoney(dueMinor, currency), breakdown: entries }
}

/** All units known now: a quantity, or events. Only a flat price needs neither. */
function usedIn(members: Members, price: Price): Used {
  const { quantity, events } = members
  if (quantity !== undefined && events !== undefined) throw badCase('quantity', 'Send a quantity or events, not both.')
  if (events !== undefined) return usedEvents(events)
  if (quantity === undefined && price.model === 'flat') return { quantity: ZERO }
  return { quantity: decimalAt(quantity, 'quantity') }
}

function usedEvents(value: unknown): Used {
  const events = eventsAt(value, ['value', 'properties'], ({ value, properties }, field) => ({
    value: decimalAt(value, memberOf(field, 'value')),
    properties: propertiesAt(properties, memberOf(field, 'properties')),
  }))
  return { quantity: events.reduce((sum, event) => sum.plus(event.value), ZERO), events }
}

function propertiesAt(value: unknown, field: string): Members {
  if (value === undefined) return {}
  if (isObject(value)) return value as Members
  throw badCase(field, 'This must be an object.')
}

/** With true-ups, and less what was credited. Its quantity is only shown. */
function billedAt(value: unknown, currency: string): Billed {
  const { quantity, amount } = membersAt(value, 'already_billed', ['quantity', 'amount'])
  const amountMinor = moneyAt(amount, 'already_billed.amount', currency)
  if (quantity === undefined) return { amountMinor }
  return { quantity: formatQuantity(decimalAt(quantity, 'already_billed.quantity')), amountMinor }
}
