import { type Static, Type } from 'typebox'
import { Problem } from '../../../../schemas/http/problem.ts'
import { INTERVALS } from '../../../../schemas/time/period.ts'
import type { AgreedTerms, Overrides, Term } from '../../../agreements/contracts/terms.ts'
import { RENEWAL_PRICES, RENEWALS } from '../../../agreements/contracts/terms.ts'
import { chargeOf, NewCharge, NewPrice } from '../catalog/plan-shapes.ts'
import { Key, Nullable, strict } from '../shapes.ts'

const MOST_CHARGES = 100
const MOST_PHASES = 100

export const NewOverrides = Type.Object(
  {
    charges: Type.Optional(
      Type.Record(Type.String(), Nullable(Type.Object({ price: NewPrice }, strict)), {
        maxProperties: MOST_CHARGES,
        description: 'Charges of the plan by their key: another price, or null: the customer has none of it.',
      }),
    ),
    add: Type.Optional(
      Type.Array(NewCharge, { maxItems: MOST_CHARGES, description: 'Charges that the plan has not.' }),
    ),
  },
  {
    ...strict,
    description:
      'What of the plan is otherwise for this customer. It makes a private version of the plan, with a hash of its own that ' +
      'invoices quote; in the catalogue it is not shown. Entitlements are those of the plan.',
    examples: [{ charges: { context: { price: { model: 'per_unit', unit_amount: '0.000002' } } } }],
  },
)

const duration = {
  interval: Type.Enum(INTERVALS),
  count: Type.Integer({ minimum: 1, maximum: 366, description: 'So many intervals, by the calendar of the customer.' }),
}

const NewPhase = Type.Object(
  {
    plan: Type.Optional(Type.String({ ...Key, description: 'Key; by default the plan of the subscription.' })),
    overrides: Type.Optional(NewOverrides),
    for: Type.Optional(
      Type.Object(duration, {
        ...strict,
        description: 'How long it lasts. The last one lasts to the end, and has none.',
      }),
    ),
  },
  strict,
)

const NewTerm = Type.Object(
  {
    ...duration,
    renewal: Type.Optional(
      Type.Enum([...RENEWALS], {
        description:
          'renew, the default: another term follows, and so on, until it is cancelled with `term_end`. end: it ends with it.',
      }),
    ),
    renew_on: Type.Optional(
      Type.Enum([...RENEWAL_PRICES], {
        description:
          'Prices from the first renewal on: the same, by default, or those of the catalog, without overrides: in the version ' +
          'of the last plan that is in effect then, by what is known now.',
      }),
    ),
    notice_days: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 366,
        description: 'How long before its end a term has to be cancelled; what is later ends the next one. Default: 0.',
      }),
    ),
  },
  { ...strict, description: 'A term that was signed for, from the start on.' },
)

/** What of a new subscription was negotiated. */
export const contractMembers = {
  overrides: Type.Optional(NewOverrides),
  phases: Type.Optional(
    Type.Array(NewPhase, {
      minItems: 1,
      maxItems: MOST_PHASES,
      description:
        'A ramp: plans one after the other from the start on, with the currency, periods and proration of the first. ' +
        'Where one begins inside a period, that is cut as by a change of plan.',
      examples: [[{ for: { interval: 'month', count: 3 } }, { plan: 'llm-large' }]],
    }),
  ),
  term: Type.Optional(NewTerm),
}
const NegotiatedBody = Type.Object(contractMembers)

/** Left out: nothing was negotiated. */
export function agreedOf({ overrides, phases, term }: Static<typeof NegotiatedBody>): AgreedTerms | undefined {
  if (overrides === undefined && phases === undefined && term === undefined) return undefined
  return {
    ...(overrides === undefined ? {} : { overrides: overridesOf(overrides) }),
    ...(phases === undefined ? {} : { phases: phases.map(phaseOf) }),
    ...(term === undefined ? {} : { term: termOf(term) }),
  }
}

export function overridesOf({ charges, add }: Static<typeof NewOverrides>): Overrides {
  return { ...(charges === undefined ? {} : { charges }), ...(add === undefined ? {} : { add: add.map(chargeOf) }) }
}

function phaseOf({ plan, overrides, for: lasts }: Static<typeof NewPhase>) {
  return {
    ...(plan === undefined ? {} : { plan }),
    ...(overrides === undefined ? {} : { overrides: overridesOf(overrides) }),
    ...(lasts === undefined ? {} : { for: lasts }),
  }
}

/** @throws Problem invalid_request for what goes with a term that renews alone. */
function termOf(term: Static<typeof NewTerm>): Term {
  const { interval, count, renewal = 'renew', renew_on: renewOn = 'same', notice_days: noticeDays = 0 } = term
  const strange = (['renew_on', 'notice_days'] as const).filter((name) => term[name] !== undefined)
  if (renewal === 'end' && strange.length > 0) {
    const errors = strange.map((name) => ({ path: `term.${name}`, message: 'This goes with a term that renews.' }))
    throw new Problem('invalid_request', 'The subscription is not valid.', { errors })
  }
  return { interval, count, renewal, renewOn, noticeDays }
}
