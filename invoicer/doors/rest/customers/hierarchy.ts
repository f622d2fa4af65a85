import { Type } from 'typebox'
import type { PlaceAmongCustomers } from '../../../agreements/customers/customer.ts'
import { Key, Nullable } from '../shapes.ts'

const Pays = Type.Union([Type.Literal('self'), Type.Literal('parent')], {
  description: 'Who pays: the customer itself, or its parent, to which its invoices are issued then.',
})
const Consolidate = Type.Boolean({
  description: 'What a run issues to the customer becomes one invoice for each currency and legal entity.',
})

/** Where a customer stands among others: what may be given, and changed. */
export const placeMembers = {
  parent: Type.Optional(Nullable({ ...Key, description: 'The external key of the customer above it.' })),
  pays: Type.Optional(Pays),
  consolidate: Type.Optional(Consolidate),
}

/** Which customers a list has. */
export const belowMembers = {
  parent: Type.Optional(Type.String({ ...Key, description: 'Those right below the customer with this external key.' })),
}

export const placeAnswerMembers = {
  parent: Nullable(Type.String({ description: 'The external key of the customer above it.' })),
  pays: Pays,
  consolidate: Consolidate,
}

export const placeExample = { parent: null, pays: 'self' as const, consolidate: false }

/** Only what is given. */
export function placeOf({ parent, pays, consolidate }: Partial<PlaceAmongCustomers>): Partial<PlaceAmongCustomers> {
  return {
    ...(parent === undefined ? {} : { parent }),
    ...(pays === undefined ? {} : { pays }),
    ...(consolidate === undefined ? {} : { consolidate }),
  }
}

export function placeAnswer({ parent, pays, consolidate }: PlaceAmongCustomers): PlaceAmongCustomers {
  return { parent, pays, consolidate }
}
