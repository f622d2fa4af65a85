import type { CatalogueClient } from './catalogue-client.ts'
import type { Catalogue } from './catalogue-file.ts'
import { couponForFile, differenceOfCoupon } from './coupon-entry.ts'
import { type Dates, differenceOf, isNothing, type PlanDifference } from './difference.ts'
import { differencesText, entriesText } from './difference-text.ts'
import type { EntryDifference } from './entry.ts'
import { FileError } from './file-error.ts'
import type { CataloguePlan } from './plan-file.ts'
import { differenceOfProduct, type LiveProduct, productForFile } from './product-entry.ts'

/** What a file would change, in the order in which it is applied: plans are of products. */
export type Changes = { products: EntryDifference[]; plans: PlanDifference[]; coupons: EntryDifference[] }

export async function changesOf(client: CatalogueClient, catalogue: Catalogue, dates: Dates): Promise<Changes> {
  const changes: Changes = { products: [], plans: [], coupons: [] }
  for (const product of catalogue.products) {
    changes.products.push(differenceOfProduct(product, await client.product(product.key)))
  }
  const named = new Set(catalogue.products.map(({ key }) => key))
  for (const plan of catalogue.plans) {
    const difference = differenceOf(plan, await client.read(plan.key), dates)
    const { product } = difference.listing
    const isThere = product == null || named.has(product) || (await client.product(product)) !== undefined
    const refused = isThere ? [] : [`product: There is no product ${JSON.stringify(product)}: put it under products.`]
    changes.plans.push({ ...difference, refused: [...difference.refused, ...refused] })
  }
  for (const coupon of catalogue.coupons) {
    changes.coupons.push(differenceOfCoupon(coupon, await client.coupon(coupon.key)))
  }
  return changes
}

export function changesText({ products, plans, coupons }: Changes, effectiveFromMs: number | undefined): string {
  return entriesText(products) + differencesText(plans, effectiveFromMs) + entriesText(coupons)
}

export function isRefused({ products, plans, coupons }: Changes): boolean {
  return [...products, ...plans, ...coupons].some(({ refused }) => refused.length > 0)
}

/** What is to be done of them. */
export function toDo({ products, plans, coupons }: Changes): Changes {
  const differs = ({ lines, refused }: EntryDifference) => lines.length > 0 || refused.length > 0
  return {
    products: products.filter(differs),
    plans: plans.filter((plan) => !isNothing(plan)),
    coupons: coupons.filter(differs),
  }
}

/** How many of what; empty where there is nothing. */
export function countText({ products, plans, coupons }: Changes): string {
  const counts = [
    [products.length, 'product'],
    [plans.length, 'plan'],
    [coupons.length, 'coupon'],
  ] as const
  return counts.flatMap(([count, noun]) => (count === 0 ? [] : `${count} ${noun}${count === 1 ? '' : 's'}`)).join(', ')
}

/**
 * The product checks all of it, and stores nothing. Only what comes after something new is not asked for: it takes no more
 * than its key.
 */
export async function rehearse(client: CatalogueClient, changes: Changes, effectiveFromMs: number | undefined) {
  const { products, plans, coupons } = changes
  for (const { calls } of products) for (const call of calls.slice(0, 1)) await client.send(call, true)
  for (const plan of plans) if (plan.version !== null) await client.store(plan, effectiveFromMs, true)
  for (const { isNew, calls } of coupons) if (isNew) for (const call of calls.slice(0, 1)) await client.send(call, true)
}

/** One after another: killed between, what is left still differs and comes with the next call. */
export async function store(client: CatalogueClient, changes: Changes, effectiveFromMs: number | undefined) {
  const { products, plans, coupons } = changes
  for (const { calls } of products) for (const call of calls) await client.send(call, false)
  for (const plan of plans) {
    const { version, listing, listingLines } = plan
    if (version !== null) await client.store(plan, effectiveFromMs, false)
    const path = `/plans/${encodeURIComponent(plan.plan.key)}`
    if (listingLines.length > 0) await client.send({ method: 'PATCH', path, body: listing }, false)
    await client.storeEntitlements(plan)
  }
  for (const { calls } of coupons) for (const call of calls) await client.send(call, false)
}

/** What the product has, as a file says it: all of it, or the plans that are named and their products. */
export async function exported(client: CatalogueClient, keys: readonly string[] | undefined, tell: Tell) {
  const plans: CataloguePlan[] = []
  for (const key of new Set(keys ?? (await client.keys()))) {
    const live = await client.read(key)
    if (live === undefined) throw new FileError(`There is no plan ${JSON.stringify(key)}.`)
    plans.push({ key, content: live.content, entitlements: live.entitlements, listing: live.listing })
    if (live.effectiveFromMs !== null) tell(key, live.version, live.effectiveFromMs)
  }
  const products = keys === undefined ? await client.products() : await productsOf(client, plans)
  const coupons = keys === undefined ? await client.coupons() : []
  return { products: products.map(productForFile), plans, coupons: coupons.map(couponForFile) }
}
/** Is told from when on the latest version of a plan is in effect. */
export type Tell = (key: string, version: number, effectiveFromMs: number) => void

async function productsOf(client: CatalogueClient, plans: readonly CataloguePlan[]): Promise<LiveProduct[]> {
  const found: LiveProduct[] = []
  for (const key of [...new Set(plans.flatMap(({ listing }) => listing.product ?? []))].sort()) {
    const product = await client.product(key)
    if (product !== undefined) found.push(product)
  }
  return found
}
