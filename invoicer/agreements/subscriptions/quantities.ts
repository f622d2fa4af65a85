import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'
import { faultOfQuantity } from '../plans/check-quantity.ts'
import type { AgreedQuantity, Plan } from '../plans/plan.ts'

/** How much of each charge that is priced so, by its key: 8 seats. Decimals in canonical form. */
export type Quantities = Readonly<Record<string, string>>
/** Of the charges of a plan that are priced by an agreed quantity, by their keys. */
export type Licences = Readonly<Record<string, AgreedQuantity>>
/** Of a phase: what its plan asks for, and what is agreed; what is not, or is the default, is left out. */
type Held = { licences?: Licences; quantities?: Quantities }

/** What stands there itself: a charge may be called `constructor`, which every object answers to. */
export function own<Value>(record: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined
}

export function licencesOf({ charges }: Pick<Plan, 'charges'>): Licences {
  return Object.fromEntries(charges.flatMap(({ key, quantity }) => (quantity === undefined ? [] : [[key, quantity]])))
}

/** Of every charge that is priced by one: what is agreed, or else its default. */
export function quantitiesOf({ licences = {}, quantities = {} }: Held): Quantities {
  return Object.fromEntries(
    Object.entries(licences).map(([key, licence]) => [key, own(quantities, key) ?? canonical(licence.default)]),
  )
}

/** The same with these quantities, as far as its plan asks for them; of the others the default. */
export function withQuantities<H extends Held>(held: H, wanted: Quantities): H {
  const { quantities: _, ...rest } = held
  const agreed = Object.entries(held.licences ?? {}).flatMap(([key, licence]) => {
    const quantity = own(wanted, key)
    return quantity === undefined || quantity === canonical(licence.default) ? [] : [[key, quantity] as const]
  })
  return { ...rest, ...(agreed.length === 0 ? {} : { quantities: Object.fromEntries(agreed) }) } as H
}

/** The first quantity that its plan does not take, and why; undefined: it takes all. */
export function faultOfQuantities(held: Held): { key: string; message: string } | undefined {
  const quantities = quantitiesOf(held)
  for (const [key, licence] of Object.entries(held.licences ?? {})) {
    const message = faultOfQuantity(own(quantities, key) ?? licence.default, licence)
    if (message !== undefined) return { key, message }
  }
  return undefined
}

/** Whether some become less and none more. */
export function isLess(before: Quantities, after: Quantities): boolean {
  const signs = Object.keys({ ...before, ...after }).map((key) =>
    parseQuantity(own(after, key) ?? '0').comparedTo(parseQuantity(own(before, key) ?? '0')),
  )
  return signs.some((sign) => sign < 0) && signs.every((sign) => sign <= 0)
}

/** A plan whose defaults are what is agreed, to compare fees. */
export function pricedFor(plan: Plan, quantities: Quantities): Plan {
  const charges = plan.charges.map((charge) => {
    const { key, quantity } = charge
    if (quantity === undefined) return charge
    return { ...charge, quantity: { ...quantity, default: own(quantities, key) ?? quantity.default } }
  })
  return { ...plan, charges }
}

function canonical(decimal: string): string {
  return formatQuantity(parseQuantity(decimal))
}
