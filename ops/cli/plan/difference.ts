import { isDeepStrictEqual } from 'node:util'
import { type Entitlement, withDefaults } from '../../../ingest/entitlements/entitlement.ts'
import { checkSameTerms } from '../../../invoicer/agreements/plans/check-plan.ts'
import { isSame } from '../../../invoicer/agreements/plans/create-plan.ts'
import type { PlanContent } from '../../../invoicer/agreements/plans/plan.ts'
import { canonicalPrice, planHash } from '../../../invoicer/agreements/plans/plan-hash.ts'
import { formatQuantity, isQuantityText, parseQuantity } from '../../../schemas/quantity.ts'
import { type Leaves, leavesOf, linesOf } from './lines.ts'
import { type CataloguePlan, type Listing, toWire } from './plan-file.ts'

/** A plan as the product has it: its latest version. */
export type LivePlan = {
  content: PlanContent
  version: number
  effectiveFromMs: number | null
  entitlements: ReadonlyMap<string, Entitlement>
  listing: Listing
}

/** What of an entitlement changes; without `after` it is taken away. */
export type EntitlementChange = { feature: string; before: Entitlement | undefined; after: Entitlement | undefined }
/** `version` is what is to be made: 1 of a new plan, the next of a changed one; null where the content is the same. */
export type PlanDifference = {
  plan: CataloguePlan
  version: number | null
  lines: string[]
  /** When the latest version, which the file repeats, takes effect, if it does not yet. */
  scheduledMs: number | null
  entitlements: EntitlementChange[]
  /** What of its place in the catalogue changes, and how one reads it. */
  listing: Partial<Listing>
  listingLines: string[]
  /** Why it cannot be applied. */
  refused: string[]
}

/** Now, and when new versions are to take effect; undefined where nobody says. */
export type Dates = { nowMs: number; effectiveFromMs: number | undefined }

/** What a plan of a file would change in the product. New versions alone: nothing that is subscribed to is touched. */
export function differenceOf(wanted: CataloguePlan, live: LivePlan | undefined, dates: Dates): PlanDifference {
  const fees = wanted.feesLeftOut && live ? live.content.fees : wanted.content.fees
  const plan = { ...wanted, content: { ...wanted.content, fees } }
  const entitlements = entitlementChanges(plan.entitlements, live?.entitlements ?? new Map())
  const all = { plan, entitlements, ...listingChanges(plan.listing, live?.listing ?? UNLISTED), scheduledMs: null }
  if (live === undefined) return { ...all, version: 1, lines: linesOf({}, members(plan)), refused: [] }
  if (isSame(hashed(plan.content), hashed(live.content))) return { ...all, version: null, ...latest(live, dates) }
  const refused = checkSameTerms(live.content, plan.content).map(({ path, message }) => `${path}: ${message}`)
  const lines = linesOf(members({ key: plan.key, content: live.content }), members(plan))
  return { ...all, version: live.version + 1, lines, refused }
}

/** Whether there is nothing to do. */
export function isNothing({ version, entitlements, listingLines, refused }: PlanDifference): boolean {
  return version === null && [entitlements, listingLines, refused].every(({ length }) => length === 0)
}

/** The same content cannot be asked for from another date than the one that it waits for. */
function latest({ version, effectiveFromMs }: LivePlan, dates: Dates) {
  const scheduledMs = effectiveFromMs !== null && effectiveFromMs > dates.nowMs ? effectiveFromMs : null
  if (scheduledMs === null || [undefined, scheduledMs].includes(dates.effectiveFromMs)) {
    return { lines: [], scheduledMs, refused: [] }
  }
  const from = new Date(scheduledMs).toISOString()
  const reason = `effective_from: version ${version} has this content and takes effect at ${from}, which nothing changes.`
  return { lines: [], scheduledMs, refused: [reason] }
}

function hashed(content: PlanContent) {
  return { ...content, hash: planHash(content) }
}

/** What a plan says, each as its path and its JSON; charges go by their keys. */
function members(plan: Pick<CataloguePlan, 'key' | 'content'>): Leaves {
  const { key: _, charges, ...terms } = toWire(plan)
  const order = charges.map(({ key }) => key)
  const keyed = Object.fromEntries(
    charges.map(({ key, price, quantity, ...charge }) => {
      const agreed = quantity ? { quantity: canonicalPrice(quantity) } : {}
      return [`charges[${key}]`, { ...charge, price: canonicalPrice(price), ...agreed }]
    }),
  )
  return leavesOf({ ...terms, 'order of charges': order.join(', '), ...keyed })
}

const UNLISTED: Listing = { product: null, archived: false }

/** What a file does not say stays as it is. */
function listingChanges(wanted: Partial<Listing>, live: Listing) {
  const { product = live.product, archived = live.archived } = wanted
  const listing = {
    ...(product === live.product ? {} : { product }),
    ...(archived === live.archived ? {} : { archived }),
  }
  return { listing, listingLines: linesOf(leavesOf(live), leavesOf({ product, archived })) }
}

/** A file that says nothing of entitlements leaves them as they are. */
function entitlementChanges(
  wanted: ReadonlyMap<string, Entitlement> | undefined,
  live: ReadonlyMap<string, Entitlement>,
): EntitlementChange[] {
  if (wanted === undefined) return []
  const features = [...new Set([...live.keys(), ...wanted.keys()])].sort()
  return features.flatMap((feature) => {
    const [before, after] = [live.get(feature), wanted.get(feature)]
    const same = before !== undefined && after !== undefined && isDeepStrictEqual(normal(before), normal(after))
    return same ? [] : [{ feature, before, after }]
  })
}

/** As the product stores it. */
function normal(entitlement: Entitlement): Entitlement {
  if (entitlement.type !== 'metered') return entitlement
  const { limit } = entitlement
  return { ...withDefaults(entitlement), limit: isQuantityText(limit) ? formatQuantity(parseQuantity(limit)) : limit }
}
