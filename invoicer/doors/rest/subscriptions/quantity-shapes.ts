import { type Static, Type } from 'typebox'
import { Problem } from '../../../../schemas/http/problem.ts'
import { formatQuantity, QuantityText, tryQuantityFromJson } from '../../../../schemas/quantity.ts'
import { addOnsTold, type NamedAddOn } from '../../../agreements/subscriptions/add-ons.ts'
import type { AddOnsChange, WantedAddOn } from '../../../agreements/subscriptions/change-add-ons.ts'
import type { QuantityChange } from '../../../agreements/subscriptions/change-quantities.ts'
import { type Licences, type Quantities, quantitiesOf } from '../../../agreements/subscriptions/quantities.ts'
import { Key, strict } from '../shapes.ts'

const Amount = Type.Union([QuantityText, Type.Number()])

const NewQuantities = Type.Record(Type.String({ minLength: 1, maxLength: 256 }), Amount, {
  description:
    'How much of the charges of the plan that are priced by an agreed quantity, by their keys, such as seats; those that ' +
    'are left out stay as they are, at first at their default.',
  examples: [{ seats: 8 }],
})

const NewAddOns = Type.Array(
  Type.Object(
    {
      plan: Type.String({ ...Key, description: 'Key of a plan whose kind is add_on.' }),
      quantity: Type.Optional(
        Type.Union([QuantityText, Type.Number()], { description: 'Its fees are charged so often. Default: 1.' }),
      ),
    },
    strict,
  ),
  {
    maxItems: 20,
    description:
      'All add-ons beside the plan; an empty list detaches them. Each has the currency and the periods of the plan, and ' +
      'prices no meter that another one prices (409). Fees are charged so often as its quantity says, usage once.',
    examples: [[{ plan: 'support', quantity: '1' }]],
  },
)

/** Of a new subscription and of a change. */
export const heldMembers = { quantities: Type.Optional(NewQuantities), add_ons: Type.Optional(NewAddOns) }
type HeldBody = { quantities?: Static<typeof NewQuantities>; add_ons?: Static<typeof NewAddOns> }

export const HeldWhen = Type.Optional(
  Type.Union([Type.Literal('period_end'), Type.Literal('now')], {
    description: 'When it changes. By default more takes effect now, and less with the period.',
  }),
)

/** Of a phase; left out: there are none. */
export const heldAnswers = {
  quantities: Type.Optional(Type.Record(Type.String(), QuantityText)),
  add_ons: Type.Optional(
    Type.Array(Type.Object({ plan: Type.String(), plan_version: Type.Integer(), quantity: QuantityText })),
  ),
}

/** Defaults included. */
export function heldAnswer(phase: { licences?: Licences; quantities?: Quantities; addOns?: readonly NamedAddOn[] }) {
  const quantities = quantitiesOf(phase)
  return {
    ...(Object.keys(quantities).length === 0 ? {} : { quantities }),
    ...(phase.addOns === undefined ? {} : { add_ons: addOnsTold(phase.addOns) }),
  }
}

/** What is asked for, in canonical decimals. @throws Problem invalid_request for what is no decimal of 0 or more. */
export function heldOf({ quantities, add_ons: addOns }: HeldBody): { quantities?: Quantities; addOns?: WantedAddOn[] } {
  return {
    ...(quantities === undefined ? {} : { quantities: quantitiesFrom(quantities) }),
    ...(addOns === undefined ? {} : { addOns: addOnsFrom(addOns) }),
  }
}

/** The change that a body asks for, if that is of quantities or add-ons alone. @throws Problem as above, or for both. */
export function heldChangeOf(
  body: HeldBody & { plan?: string | null; when?: QuantityChange['when'] },
): QuantityChange | AddOnsChange | undefined {
  const { quantities, addOns } = heldOf(body)
  const when = body.when ?? null
  if (addOns !== undefined && (quantities !== undefined || body.plan !== undefined)) {
    throw invalid('add_ons', 'Add-ons are a change of their own: send it by itself.')
  }
  if (addOns !== undefined) return { addOns, when }
  if (quantities === undefined || body.plan !== undefined) return undefined
  if (Object.keys(quantities).length === 0) throw invalid('quantities', 'Name one at least.')
  return { quantities, when }
}

function quantitiesFrom(wanted: Static<typeof NewQuantities>): Quantities {
  return Object.fromEntries(Object.entries(wanted).map(([key, value]) => [key, decimalOf(value, `quantities.${key}`)]))
}

function addOnsFrom(wanted: Static<typeof NewAddOns>): WantedAddOn[] {
  return wanted.map(({ plan, quantity = '1' }, index) => {
    return { plan, quantity: decimalOf(quantity, `add_ons.${index}.quantity`) }
  })
}

function decimalOf(value: string | number, path: string): string {
  const quantity = tryQuantityFromJson(value)
  if (quantity === undefined) throw invalid(path, 'This may not be what was meant: send a decimal as a string.')
  if (quantity.isNegative() && !quantity.isZero()) throw invalid(path, 'This must be 0 or more.')
  return formatQuantity(quantity)
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', 'The request is not valid.', { errors: [{ path, message }] })
}
