import type { ProblemError } from '../../../schemas/http/problem.ts'
import { formatQuantity } from '../../../schemas/quantity.ts'
import { checkPrice } from '../rating/check-price.ts'
import { Cell, PercentageTier, PRICE_OF_MODEL, type Price, Tier } from '../rating/price.ts'
import { checkShape } from '../rating/price-shape.ts'
import { badCase } from './bad-case.ts'
import { decimalAt, isObject, type Members, memberOf } from './case-shape.ts'
import { withDefaults } from './price-defaults.ts'

/** The members of all models, which null leaves out. An unknown one stays, and is refused. */
const KNOWN = new Set(
  [...Object.values(PRICE_OF_MODEL), Tier, PercentageTier, Cell].flatMap(({ properties }) => Object.keys(properties)),
)

/** A price that can be rated. Its decimals may be JSON numbers in a case; they are text from then on. */
export function priceAt(value: unknown, field: string): Price {
  if (value === undefined) throw badCase(field, 'This is missing. A price is an object with a model.')
  if (isObject(value) && 'commitment_periods' in value) {
    const message =
      'A run bills a commitment of several periods, because it knows them all; a quote prices one: leave this out.'
    throw badCase(memberOf(field, 'commitment_periods'), message)
  }
  const price = isObject(value) ? withDefaults(spelledOut(value, field)) : value
  const wrong = checkShape(price) ?? checkPrice(price as Price)[0]
  if (wrong !== undefined) throw refused(field, wrong)
  return price as Price
}

/** The price as it would be stored, its tiers and cells too; what a cell compares stays as it is. */
function spelledOut(price: object, field: string): Members {
  const members = asText(price, field)
  const name = members.tiers === undefined ? 'cells' : 'tiers'
  const parts = members[name]
  if (!Array.isArray(parts)) return members
  const at = memberOf(field, name)
  return { ...members, [name]: parts.map((part, place) => (isObject(part) ? asText(part, memberOf(at, place)) : part)) }
}

/** Without members that are null, and with numbers as text. */
function asText(part: object, field: string): Members {
  const members = Object.entries(part)
  if (members.every(([, value]) => value !== null && typeof value !== 'number')) return part as Members
  return Object.fromEntries(
    members
      .filter(([name, value]) => value !== null || !KNOWN.has(name))
      .map(([name, value]): [string, unknown] => [
        name,
        typeof value === 'number' ? formatQuantity(decimalAt(value, memberOf(field, name))) : value,
      ]),
  )
}

function refused(field: string, { path, message }: ProblemError): Error {
  return badCase(`${field}${path.replaceAll('/', '.')}`, message)
}
