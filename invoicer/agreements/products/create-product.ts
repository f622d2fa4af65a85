import { isDeepStrictEqual } from 'node:util'
import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { isCurrency } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, isQuantityText, parseQuantity } from '../../../schemas/quantity.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { Product } from './product.ts'
import { findProduct, findProductByKey, insertProduct, lockProduct, updateProduct } from './products.postgres.ts'

/** Of metadata, and of prices. */
export const MOST_MEMBERS = 50

export type CreateProduct = Pick<Product, 'key' | 'name' | 'description' | 'metadata' | 'prices'>
/** What is given is changed: metadata and prices by their names, of which null takes one away. */
export type ChangeProduct = {
  name?: string | undefined
  description?: string | null | undefined
  metadata?: Readonly<Record<string, string | null>> | undefined
  prices?: Readonly<Record<string, string | null>> | undefined
  archived?: boolean | undefined
}

/**
 * Creates a product once per key: the same content again answers the stored one, archived or not.
 * @throws Problem invalid_request for a price that cannot be; conflict for other content under the same key.
 */
export async function createProduct(
  tx: TenantTransaction,
  input: CreateProduct,
  means: Means,
): Promise<{ product: Product; created: boolean }> {
  const content = { ...input, prices: pricesFrom(input.prices) }
  const product: Product = { ...content, id: means.newId(), archivedAtMs: null, createdAtMs: means.now() }
  if (!(await insertProduct(tx, product))) return { product: await storedProduct(tx, content), created: false }
  await tell(tx, 'product.created', product, product.createdAtMs, means)
  return { product, created: true }
}

/**
 * Changes what is given, and leaves the rest; the same again changes nothing. Items that were made with a price keep it.
 * @throws Problem not_found; invalid_request for a price that cannot be, or more than 50 texts or prices.
 */
export async function changeProduct(
  tx: TenantTransaction,
  idOrKey: string,
  change: ChangeProduct,
  means: Means,
): Promise<Product> {
  const { id } = await readProduct(tx, idOrKey)
  await lockProduct(tx, id)
  const stored = await readProduct(tx, id)
  const atMs = means.now()
  const { name = stored.name, description = stored.description, archived = stored.archivedAtMs !== null } = change
  const changed: Product = {
    ...{ ...stored, name, description, archivedAtMs: archived ? (stored.archivedAtMs ?? atMs) : null },
    metadata: merged(stored.metadata, change.metadata),
    prices: pricesFrom(merged(stored.prices, change.prices)),
  }
  refuseTooMany(changed)
  if (isDeepStrictEqual(changed, stored)) return stored
  await updateProduct(tx, changed)
  await tell(tx, 'product.updated', changed, atMs, means)
  return changed
}

/** @throws Problem not_found. Another tenant's product is not there either. */
export async function readProduct(tx: TenantTransaction, idOrKey: string): Promise<Product> {
  const product = await findProduct(tx, idOrKey)
  if (product === undefined) throw new Problem('not_found', 'There is no product with this id or key.')
  return product
}

/** As many as one call that creates it can name: however often it is changed, a product stays small, and can be created so. */
function refuseTooMany({ metadata, prices }: Product): void {
  const errors = Object.entries({ metadata, prices }).flatMap(([path, members]): ProblemError[] => {
    const count = Object.keys(members).length
    if (count <= MOST_MEMBERS) return []
    return [{ path, message: `There would be ${count}, of at most ${MOST_MEMBERS}: take some away with null.` }]
  })
  if (errors.length > 0) throw new Problem('invalid_request', 'The product is not valid.', { errors })
}

/** The same members in the order of their names, changed by what is given. */
export function merged(
  stored: Readonly<Record<string, string>>,
  change: Readonly<Record<string, string | null>> | undefined,
): Record<string, string> {
  const all = Object.entries({ ...stored, ...change }).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(all.filter((member): member is [string, string] => member[1] !== null))
}

/** Spelled in one way. */
function pricesFrom(prices: Readonly<Record<string, string>>): Record<string, string> {
  const errors: ProblemError[] = []
  const spelled = Object.entries(prices).map(([currency, text]): [string, string] => {
    const amount = isQuantityText(text) ? parseQuantity(text) : undefined
    if (!isCurrency(currency)) {
      errors.push({ path: `prices.${currency}`, message: 'This is not an active ISO 4217 currency.' })
    } else if (amount === undefined || !amount.greaterThan(0)) {
      errors.push({ path: `prices.${currency}`, message: 'This must be a decimal above 0 with at most 12 decimals.' })
    }
    return [currency, amount === undefined ? text : formatQuantity(amount)]
  })
  if (errors.length > 0) throw new Problem('invalid_request', 'The product is not valid.', { errors })
  return Object.fromEntries(spelled)
}

async function storedProduct(tx: TenantTransaction, wanted: CreateProduct): Promise<Product> {
  const stored = await findProductByKey(tx, wanted.key)
  if (stored === undefined) throw new Problem('internal', 'A stored product could not be read.')
  const { id: _i, archivedAtMs: _a, createdAtMs: _c, ...content } = stored
  if (isDeepStrictEqual(content, wanted)) return stored
  throw new Problem(
    'conflict',
    `Product ${JSON.stringify(wanted.key)} exists with other content: to change it, send a PATCH.`,
  )
}

async function tell(
  tx: TenantTransaction,
  event: 'product.created' | 'product.updated',
  product: Product,
  atMs: number,
  means: Means,
): Promise<void> {
  const { id, key, name, prices, archivedAtMs } = product
  const data = { product_id: id, key, name, prices, archived: archivedAtMs !== null }
  await insertBillingEvents(tx, [{ id: means.newId(), event, data }], atMs)
}
