import {
  type Decimal,
  decimal,
  greater,
  isAbove,
  lesser,
  minus,
  NOTHING,
  percent,
  plus,
  rounded,
  sum,
  times,
  timesWithin,
} from './decimal.ts'

type Text = string | number
type Tier = { up_to: Text | null; unit_amount?: Text; rate?: Text; flat_amount?: Text }
type Scalar = string | number | boolean
type Event = { value: Text; time?: string; properties?: Record<string, unknown> }
/** Of a case that is right; the members of all models together. */
export type PriceCase = {
  currency: string
  price: {
    model: string
    tiers?: Tier[]
    cells?: { when: Record<string, Scalar>; unit_amount: Text }[]
    round?: string
    dimensions?: string[]
  } & Record<string, unknown>
  quantity?: Text
  events?: Event[]
  already_billed?: { amount: Text }
  final?: boolean
}
type Sold = { value: Decimal; properties: Record<string, unknown> }

const PLACES: Record<string, number> = { JPY: 0, USD: 2, KWD: 3, CLF: 4 }

/**
 * The price of a case a second time, written from the rules alone: in whole numbers, unit range by unit range and event by
 * event, with what came before looked up again for each. Slow, and shares nothing with the product. In minor units.
 */
export function slowQuote(given: PriceCase): { dueMinor: bigint; trueUpMinor: bigint } {
  const places = PLACES[given.currency]!
  const { price } = given
  const text = (name: string) => price[name] as Text | undefined
  let amount = modelAmount(price, beyondIncluded(soldIn(given), decimal(text('included_units') ?? 0)))
  amount = minus(amount, percent(times(amount, decimal(text('discount_percent') ?? 0))))
  const committed = decimal(text('commitment_amount') ?? 0)
  if (text('overage_factor') !== undefined && isAbove(amount, committed))
    amount = plus(committed, times(minus(amount, committed), decimal(text('overage_factor')!)))
  if (text('maximum_amount') !== undefined) amount = lesser(amount, decimal(text('maximum_amount')!))
  const lineMinor = rounded(amount, places)
  const leasts = [text('minimum_amount'), text('commitment_amount')].filter((least) => least !== undefined)
  const leastMinor = rounded(leasts.map(decimal).reduce(greater, NOTHING), places)
  const isOwed = given.final !== false && leasts.length > 0 && leastMinor > lineMinor
  const trueUpMinor = isOwed ? leastMinor - lineMinor : 0n
  return {
    dueMinor: lineMinor + trueUpMinor - rounded(decimal(given.already_billed?.amount ?? 0), places),
    trueUpMinor,
  }
}

function soldIn({ quantity, events }: PriceCase): Sold[] {
  if (events === undefined) return [{ value: decimal(quantity ?? 0), properties: {} }]
  const placed = events.map((event, place) => ({ event, place, ms: event.time ? Date.parse(event.time) : 0 }))
  placed.sort((a, b) => a.ms - b.ms || a.place - b.place)
  return placed.map(({ event }) => ({ value: decimal(event.value), properties: event.properties ?? {} }))
}

/** The first units are taken out. What is sold below nothing was never included. */
function beyondIncluded(sold: readonly Sold[], included: Decimal): Sold[] {
  if (included.digits === 0n) return [...sold]
  const beyond = (count: number) => {
    const total = sum(sold.slice(0, count).map((one) => one.value))
    return total.digits < 0n ? total : greater(minus(total, included), NOTHING)
  }
  return sold
    .map((one, index) => ({ ...one, value: minus(beyond(index + 1), beyond(index)), index }))
    .filter(({ value, index }) => {
      const total = sum(sold.slice(0, index + 1).map((one) => one.value))
      return value.digits !== 0n || isAbove(total, included)
    })
}

function modelAmount(price: PriceCase['price'], sold: readonly Sold[]): Decimal {
  const total = sum(sold.map((one) => one.value))
  const text = (name: string) => decimal((price[name] as Text | undefined) ?? 0)
  const tiers = price.tiers ?? []
  const { model } = price
  if (model === 'flat') return text('amount')
  if (model === 'per_unit') return sum(sold.map(({ value }) => times(value, text('unit_amount'))))
  if (model === 'dynamic') return sum(sold.map(({ value }) => times(value, text('multiplier'))))
  if (model === 'graduated') return overTiers(tiers, total, (tier) => decimal(tier.unit_amount!))
  if (model === 'graduated_percentage') return overTiers(tiers, total, (tier) => percent(decimal(tier.rate!)))
  if (model === 'volume') {
    const tier = tiers[reached(tiers, total)]!
    return plus(times(total, decimal(tier.unit_amount!)), decimal(tier.flat_amount ?? 0))
  }
  if (model === 'package') return times(packages(price, total), text('amount'))
  if (model === 'percentage') return sum(sold.map((_, index) => percentageFee(price, sold, index)))
  return sum(sold.map((one) => times(one.value, cellPrice(price, one))))
}

function packages(price: PriceCase['price'], total: Decimal): Decimal {
  if (total.digits <= 0n) return NOTHING
  const { whole, isRest } = timesWithin(total, decimal(price.package_size as Text))
  return { digits: whole + (isRest && price.round !== 'down' ? 1n : 0n), places: 0 }
}

/** The index of the tier that a total reaches. */
function reached(tiers: readonly Tier[], total: Decimal): number {
  return tiers.filter(({ up_to }) => up_to !== null && isAbove(total, decimal(up_to))).length
}

/** Price up to a point, as the sum over tiers of what lies between its two bounds. */
function overTiers(tiers: readonly Tier[], total: Decimal, priceOf: (tier: Tier) => Decimal): Decimal {
  const last = reached(tiers, total)
  return sum(
    tiers.slice(0, last + 1).map((tier, index) => {
      const from = index === 0 ? NOTHING : decimal(tiers[index - 1]!.up_to!)
      const to = index === last ? total : decimal(tier.up_to!)
      return plus(times(minus(to, from), priceOf(tier)), decimal(tier.flat_amount ?? 0))
    }),
  )
}

/** Whether events up to this one, it too, are all free. */
function areFree(price: PriceCase['price'], sold: readonly Sold[], index: number): boolean {
  const [events, units] = [decimal((price.free_events as Text) ?? 0), decimal((price.free_units as Text) ?? 0)]
  if (events.digits === 0n && units.digits === 0n) return false
  return sold.slice(0, index + 1).every((_, place) => {
    const inEvents = events.digits === 0n || !isAbove(decimal(place + 1), events)
    const total = sum(sold.slice(0, place + 1).map((one) => one.value))
    return inEvents && (units.digits === 0n || !isAbove(total, units))
  })
}

function percentageFee(price: PriceCase['price'], sold: readonly Sold[], index: number): Decimal {
  if (areFree(price, sold, index)) return NOTHING
  const [events, units] = [decimal((price.free_events as Text) ?? 0), decimal((price.free_units as Text) ?? 0)]
  const isFirstToPay = (index === 0 || areFree(price, sold, index - 1)) && (events.digits > 0n || units.digits > 0n)
  const isWithinEvents = events.digits === 0n || !isAbove(decimal(index + 1), events)
  const total = sum(sold.slice(0, index + 1).map((one) => one.value))
  const part = isFirstToPay && isWithinEvents ? minus(total, units) : sold[index]!.value
  let fee = plus(percent(times(part, decimal(price.rate as Text))), decimal((price.fixed_amount as Text) ?? 0))
  if (price.min_per_event !== undefined) fee = greater(fee, decimal(price.min_per_event as Text))
  if (price.max_per_event !== undefined) fee = lesser(fee, decimal(price.max_per_event as Text))
  return fee
}

function cellPrice(price: PriceCase['price'], { properties }: Sold): Decimal {
  const has = (name: string, wanted: Scalar) => name in properties && `${properties[name]}` === `${wanted}`
  const cell = price.cells!.find(({ when }) => Object.entries(when).every(([name, wanted]) => has(name, wanted)))
  return decimal(cell?.unit_amount ?? (price.default_unit_amount as Text))
}
