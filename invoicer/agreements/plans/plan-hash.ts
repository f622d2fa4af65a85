import { createHash } from 'node:crypto'
import { formatQuantity, isQuantityText, parseQuantity } from '../../../schemas/quantity.ts'
import type { PlanContent } from './plan.ts'

/** Members of a price whose text is no decimal, whatever it looks like. */
const TEXTS = new Set(['model', 'round', 'dimensions', 'when'])

/**
 * SHA-256 over a canonical JSON of everything that decides an amount or on which invoice it stands: currency, period,
 * grace, basis of proration, whether fees are billed in advance, and the charges in their order, each with its key, meter
 * and price. Names that are shown are not in it, and neither are key, version and date of the plan: the same content has
 * the same hash wherever it stands. Members are sorted, and decimals spelled in one way, so that "1.0" is "1".
 */
export function planHash(content: Omit<PlanContent, 'name'>): string {
  const { currency, interval, every, alignment, graceSeconds, prorationBasis, fees, charges } = content
  const canonical = sorted({
    currency,
    interval,
    every,
    alignment,
    grace_seconds: graceSeconds,
    proration_basis: prorationBasis,
    // Said only where it is so: plans from before there was a choice keep their hash.
    ...(fees === 'in_advance' ? { fees } : {}),
    ...(content.kind === undefined ? {} : { kind: content.kind }),
    charges: charges.map(({ key, meter, price, quantity, taxClass, attributes = [] }) => {
      const agreed = quantity === undefined ? {} : { quantity: canonicalPrice(quantity) }
      const sold = taxClass === undefined ? {} : { tax_class: taxClass }
      const charge = { key, meter, price: canonicalPrice(price), ...agreed, ...sold }
      return attributes.length === 0 ? charge : { ...charge, attributes }
    }),
  })
  return createHash('sha256').update(JSON.stringify(canonical)).digest('hex')
}

/** A price with its decimals spelled in one way. */
export function canonicalPrice(part: unknown): unknown {
  if (typeof part === 'string') return isQuantityText(part) ? formatQuantity(parseQuantity(part)) : part
  if (Array.isArray(part)) return part.map(canonicalPrice)
  if (typeof part !== 'object' || part === null) return part
  return Object.fromEntries(
    Object.entries(part).map(([name, value]) => [name, TEXTS.has(name) ? value : canonicalPrice(value)]),
  )
}

/** The same value with the members of every object in the order of their names. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(members.map(([name, member]) => [name, sorted(member)]))
}
