import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import type { CheckPrice } from '../plans/check-plan.ts'
import type { AgreedPrice, AgreedQuantity, Charge, PlanContent } from '../plans/plan.ts'
import { canonicalPrice } from '../plans/plan-hash.ts'
import type { Overrides } from './terms.ts'

const MOST_CHARGES = 100

/** A plan's charges with overrides, where each of them stands in those, and what they cannot mean. */
export type Overridden = { charges: Charge[]; paths: string[]; errors: ProblemError[] }

/** Charges keep their order, and those that are added come behind them. `path`: of the overrides. */
export function overridden(
  base: Pick<PlanContent, 'charges'>,
  { charges = {}, add = [] }: Overrides,
  path: string,
): Overridden {
  const errors: ProblemError[] = []
  const known = new Set(base.charges.map(({ key }) => key))
  for (const key of Object.keys(charges)) {
    if (known.has(key)) continue
    errors.push({
      path: `${path}.charges.${key}`,
      message: `The plan has no such charge, but ${[...known].join(', ')}.`,
    })
  }
  const kept = base.charges.flatMap((charge): { charge: Charge; path: string }[] => {
    const override = Object.hasOwn(charges, charge.key) ? charges[charge.key] : undefined
    const from = `${path}.charges.${charge.key}`
    if (override === null) return []
    return [{ charge: override === undefined ? charge : { ...charge, price: override.price }, path: from }]
  })
  for (const [index, { key }] of add.entries()) {
    if (!known.has(key)) continue
    const message = 'The plan has a charge with this key: override that, or take another key.'
    errors.push({ path: `${path}.add.${index}.key`, message })
  }
  const all = [...kept, ...add.map((charge, index) => ({ charge, path: `${path}.add.${index}` }))]
  if (all.length === 0) errors.push({ path, message: 'No charge is left: leave one at least.' })
  if (all.length > MOST_CHARGES) errors.push({ path, message: `A plan has ${MOST_CHARGES} charges at most.` })
  return { charges: all.map(({ charge }) => charge), paths: all.map((one) => one.path), errors }
}

/**
 * The same with decimals spelled in one way, so that what is said twice is the same. Prices are checked before: what is
 * none may be nested more deeply than a call can follow.
 * @throws Problem invalid_request.
 */
export function canonicalOverrides(
  { charges, add }: Overrides,
  checkPrice: CheckPrice<AgreedPrice>,
  path: string,
): Overrides {
  const priced = [
    ...Object.entries(charges ?? {}).flatMap(([key, override]) =>
      override === null ? [] : [{ at: `${path}.charges.${key}.price`, price: override.price }],
    ),
    ...(add ?? []).map(({ price }, index) => ({ at: `${path}.add.${index}.price`, price })),
  ]
  const errors = priced.flatMap(({ at, price }) =>
    checkPrice(price).map((error) => ({ ...error, path: `${at}${error.path.replaceAll('/', '.')}` })),
  )
  if (errors.length > 0) throw new Problem('invalid_request', 'A price of the overrides is not valid.', { errors })
  const spelled = Object.entries(charges ?? {}).map(([key, override]) => {
    return [key, override === null ? null : { price: canonicalPrice(override.price) as AgreedPrice }] as const
  })
  return {
    ...(charges === undefined ? {} : { charges: Object.fromEntries(spelled) }),
    ...(add === undefined ? {} : { add: add.map(canonicalCharge) }),
  }
}

function canonicalCharge({ price, quantity, ...charge }: Charge): Charge {
  return {
    ...charge,
    price: canonicalPrice(price) as AgreedPrice,
    ...(quantity === undefined ? {} : { quantity: canonicalPrice(quantity) as AgreedQuantity }),
  }
}
