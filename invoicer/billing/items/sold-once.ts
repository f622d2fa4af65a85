import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { findProduct } from '../../agreements/products/products.postgres.ts'
import { findItemByKey } from './items.postgres.ts'

/** An item that names a product, by its id or key, instead of saying what a unit costs. */
export type NamesProduct = {
  externalKey: string
  product: string
  description: string | null
  amount: string | null
  quantity: string | null
  unitAmount: string | null
}
/** The same item with its price; `quantity` is 1 unless told, and it is called as the product unless told. */
export type SoldOnce = { productKey: string; description: string; quantity: string; unitAmount: string }

/**
 * What a unit of a product costs that is sold once, in the currency of who pays. An item that is there already keeps its
 * price and name, so that the same call again is the same though the product has changed since.
 * @throws Problem invalid_request for a product that is not there, is archived or has no price in the currency, or where
 * the call says itself what it costs.
 */
export async function soldOnce(tx: TenantTransaction, item: NamesProduct, currency: string): Promise<SoldOnce> {
  if (item.amount !== null || item.unitAmount !== null) {
    throw invalid('The product says what a unit costs: leave out amount and unit_amount, or the product.')
  }
  const product = await findProduct(tx, item.product)
  if (product === undefined) throw invalid('There is no such product.')
  const quantity = item.quantity ?? '1'
  const stored = await findItemByKey(tx, item.externalKey)
  if (stored?.productKey === product.key && stored.unitAmount !== null) {
    const { unitAmount, productKey } = stored
    return { productKey, description: item.description ?? stored.description, quantity, unitAmount }
  }
  if (product.archivedAtMs !== null) throw invalid('The product is archived: nothing new of it is sold.')
  const unitAmount = product.prices[currency]
  if (unitAmount === undefined) {
    throw invalid(
      `The product has no one-time price in ${currency}: give it one with a PATCH, or say here what a unit costs.`,
    )
  }
  return { productKey: product.key, description: item.description ?? product.name, quantity, unitAmount }
}

function invalid(message: string): Problem {
  return new Problem('invalid_request', 'The item is not valid.', { errors: [{ path: 'product', message }] })
}
