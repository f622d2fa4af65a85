import { type Static, Type } from 'typebox'
import type { AttributeUsage } from '../../../billing/attributes.ts'
import { Nullable } from '../shapes.ts'

const counted = { quantity: Type.String(), events: Type.Integer() }

/** What a line lists of its events, as its charge asks for it (HC-13). */
export const LineAttributesAnswer = Type.Object(
  {
    names: Type.Array(Type.String()),
    combinations: Type.Array(Type.Object({ values: Type.Array(Nullable(Type.String())), ...counted })),
    other: Nullable(Type.Object(counted)),
  },
  {
    description:
      'How much of the quantity has which values of the properties that the charge names, such as payer and code: 100 ' +
      'combinations in the order of their values, the rest as `other`. A value is null where an event has none.',
  },
)

export const attributesExample = {
  names: ['payer', 'code'],
  combinations: [{ values: ['medicare', '99213'], quantity: '2182292', events: 1937 }],
  other: null,
}

export function lineAttributesAnswer(
  usage: AttributeUsage | null | undefined,
): Static<typeof LineAttributesAnswer> | null {
  if (!usage) return null
  const { names, combinations, other } = usage
  return { names, combinations, other }
}
