import { formatQuantity, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { Rated } from './breakdown.ts'
import type { PackagePrice } from './price.ts'
import { priceDecimal } from './price-decimal.ts'

/** Started packages are charged, or full ones alone where the price rounds down. From 0 units down there is none. */
export function ratePackage(price: PackagePrice, quantity: Quantity): Rated {
  const size = priceDecimal(price.package_size)
  const packages = quantity.greaterThan(0) ? packagesIn(quantity, size.value, price.round ?? 'up') : ZERO
  const exact = priceDecimal(price.amount).value.times(packages)
  return {
    exact,
    breakdown: [
      {
        type: 'package',
        quantity: formatQuantity(quantity),
        packages: formatQuantity(packages),
        package_size: size.text,
        amount: formatQuantity(exact),
      },
    ],
  }
}

/** The product decides what is started, not the quotient, which may have no end. */
function packagesIn(quantity: Quantity, size: Quantity, round: 'up' | 'down'): Quantity {
  const full = quantity.dividedToIntegerBy(size)
  return round === 'up' && full.times(size).lessThan(quantity) ? full.plus(1) : full
}
