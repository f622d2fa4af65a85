import { isObject, type Members } from './case-shape.ts'

/** A quoted price with what may be left out where only one thing can be meant. A stored price says all of it. */
export function withDefaults(price: Members): Members {
  switch (price.model) {
    case 'graduated':
    case 'volume':
      return withTiers(price, 'unit_amount')
    case 'graduated_percentage':
      return withTiers(price, 'rate')
    case 'percentage':
      return price.fixed_amount === undefined ? price : { rate: '0', ...price }
    case 'dynamic':
      return { multiplier: '1', ...price }
    case 'matrix':
      return withDimensions(price)
    default:
      return price
  }
}

/** A tier without a bound is open, which the last one alone may be; one that has a flat amount may have that alone. */
function withTiers(price: Members, perUnit: 'unit_amount' | 'rate'): Members {
  const { tiers } = price
  if (!Array.isArray(tiers)) return price
  return {
    ...price,
    tiers: tiers.map((tier: unknown) => {
      if (!isObject(tier)) return tier
      const free = 'flat_amount' in tier ? { [perUnit]: '0' } : {}
      return { up_to: null, ...free, ...tier }
    }),
  }
}

/** The names that cells compare, in the order in which they come. */
function withDimensions(price: Members): Members {
  const { cells } = price
  if (price.dimensions !== undefined || !Array.isArray(cells)) return price
  const compared = cells.flatMap((cell: unknown) => (isObject(cell) && 'when' in cell ? cell.when : []))
  const dimensions = [...new Set(compared.flatMap((when) => (isObject(when) ? Object.keys(when) : [])))]
  return dimensions.length === 0 ? price : { ...price, dimensions }
}
