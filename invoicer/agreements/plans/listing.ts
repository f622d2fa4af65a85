import { isDeepStrictEqual } from 'node:util'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { findProduct } from '../products/products.postgres.ts'
import { keepListing, listListings, lockListing, putListing } from './listings.postgres.ts'
import { findLatestPlan } from './plans.postgres.ts'

/** How a plan stands in the catalogue, in all its versions. Not in its hash: it decides no amount. */
export type PlanListing = {
  /** The product that it is of; null: of none. */
  product: string | null
  /** From then on no subscription begins with it or moves to it; those that have it go on. */
  archivedAtMs: number | null
  /** The same of its product. */
  productArchivedAtMs: number | null
}
export const UNLISTED: PlanListing = { product: null, archivedAtMs: null, productArchivedAtMs: null }

/** What is given is changed: the product by its id or key, of which null takes the plan out. */
export type ChangeListing = { product?: string | null | undefined; archived?: boolean | undefined }

/**
 * Changes what is given, and leaves the rest; the same again changes nothing.
 * @throws Problem not_found; invalid_request for a product that is not there.
 */
export async function changeListing(
  tx: TenantTransaction,
  key: string,
  { product, archived }: ChangeListing,
  means: Means,
): Promise<PlanListing> {
  if ((await findLatestPlan(tx, key)) === undefined) throw new Problem('not_found', 'There is no plan with this key.')
  await keepListing(tx, key)
  await lockListing(tx, key)
  const stored = await readListing(tx, key)
  const wanted = product == null ? undefined : await findProduct(tx, product)
  if (product != null && wanted === undefined) {
    const errors = [{ path: 'product', message: 'There is no such product.' }]
    throw new Problem('invalid_request', 'The change is not valid.', { errors })
  }
  const nowMs = means.now()
  const archivedAtMs = (archived ?? stored.archivedAtMs !== null) ? (stored.archivedAtMs ?? nowMs) : null
  const productKey = product === undefined ? stored.product : (wanted?.key ?? null)
  if (isDeepStrictEqual([productKey, archivedAtMs], [stored.product, stored.archivedAtMs])) return stored
  await putListing(tx, key, productKey, archivedAtMs)
  const data = { key, product: productKey, archived: archivedAtMs !== null }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'plan.listed', data }], nowMs)
  return readListing(tx, key)
}

/**
 * Says of which product a plan is as it is created; of one that was there the product stays.
 * @throws Problem invalid_request for a product that is not there; conflict for another one than it has.
 */
export async function listNew(
  tx: TenantTransaction,
  key: string,
  product: string | null,
  created: boolean,
  means: Means,
): Promise<void> {
  if (created) await changeListing(tx, key, { product }, means)
  const wanted = product === null ? null : (await findProduct(tx, product))?.key
  const { product: stored } = await readListing(tx, key)
  if (wanted === stored) return
  const name = stored === null ? 'no product' : `product ${JSON.stringify(stored)}`
  throw new Problem('conflict', `Plan ${JSON.stringify(key)} exists, and is of ${name}: to change that, send a PATCH.`)
}

/** @throws Problem invalid_request where the plan or its product is archived: nothing begins with it. */
export async function refuseArchived(tx: TenantTransaction, key: string): Promise<void> {
  const { product, archivedAtMs, productArchivedAtMs } = await readListing(tx, key)
  if (archivedAtMs === null && productArchivedAtMs === null) return
  const what = archivedAtMs === null ? `Product ${JSON.stringify(product)}` : `Plan ${JSON.stringify(key)}`
  const message = `${what} is archived: choose another plan, or take that back with a PATCH of it.`
  throw new Problem('invalid_request', 'The plan is archived.', { errors: [{ path: 'plan', message }] })
}

async function readListing(tx: TenantTransaction, key: string): Promise<PlanListing> {
  return (await listListings(tx, [key])).get(key) ?? UNLISTED
}
