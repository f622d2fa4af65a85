import { Type } from 'typebox'
import { QuantityText } from '../../../../schemas/quantity.ts'
import { strict } from '../shapes.ts'

/** Of a charge without a meter whose price is not flat: seats. */
export const ChargeQuantity = Type.Object(
  { default: QuantityText, min: Type.Optional(QuantityText), max: Type.Optional(QuantityText) },
  {
    ...strict,
    description:
      'In place of a meter: how much the price is for is agreed with each subscription (`quantities`), such as seats, ' +
      'and billed as a fee. `default` holds where nothing is agreed; `min` and `max` say between what it may lie. The price ' +
      'is per_unit, graduated, volume or package.',
    examples: [{ default: '1', min: '1' }],
  },
)

export const PLAN_KINDS = ['base', 'add_on'] as const
export const PlanKind = Type.Enum(PLAN_KINDS, {
  description:
    'add_on: it cannot be subscribed to; subscriptions to other plans carry it beside them (`add_ons`), so many of it. ' +
    'The same in all versions. Default: base.',
})
