import { type Static, Type } from 'typebox'
import { Check } from 'typebox/value'
import { Entitlement } from '../../../ingest/entitlements/entitlement.ts'
import { FEE_TIMES } from '../../../invoicer/agreements/plans/plan.ts'
import { INTERVALS } from '../../../schemas/time/period.ts'
import { type Answer, createImportClient, refused } from '../import/import-client.ts'
import { LiveCoupon } from './coupon-entry.ts'
import type { LivePlan, PlanDifference } from './difference.ts'
import type { Call } from './entry.ts'
import { toWire, withTaxClass } from './plan-file.ts'
import { LiveProduct } from './product-entry.ts'

const Plan = Type.Object({
  key: Type.String(),
  version: Type.Integer(),
  effective_from: Type.Union([Type.String(), Type.Null()]),
  name: Type.String(),
  currency: Type.String(),
  interval: Type.Enum(INTERVALS),
  every: Type.Integer(),
  alignment: Type.Enum(['calendar', 'anniversary']),
  proration_basis: Type.Enum(['second', 'day']),
  fees: Type.Enum(FEE_TIMES),
  kind: Type.Optional(Type.Enum(['base', 'add_on'])),
  product: Type.Union([Type.String(), Type.Null()]),
  archived_at: Type.Union([Type.String(), Type.Null()]),
  grace_seconds: Type.Integer(),
  charges: Type.Array(
    Type.Object({
      key: Type.String(),
      name: Type.String(),
      meter: Type.Union([Type.String(), Type.Null()]),
      price: Type.Object({ model: Type.String() }),
      attributes: Type.Optional(Type.Array(Type.String())),
      tax_class: Type.Optional(Type.String()),
      quantity: Type.Optional(
        Type.Object({ default: Type.String(), min: Type.Optional(Type.String()), max: Type.Optional(Type.String()) }),
      ),
    }),
  ),
})
const Keyed = Type.Array(Type.Object({ key: Type.String() }))
const Page = Type.Object({
  plans: Type.Optional(Keyed),
  products: Type.Optional(Type.Array(LiveProduct)),
  coupons: Type.Optional(Type.Array(LiveCoupon)),
  next: Type.Union([Type.String(), Type.Null()]),
})
const Versions = Type.Object({ versions: Type.Array(Plan, { minItems: 1 }) })
const Entitlements = Type.Object({
  entitlements: Type.Array(Type.Object({ feature: Type.String(), entitlement: Entitlement })),
})

/** The catalogue of a running product. Every call may be sent again, and is, until there is a final answer. */
export type CatalogueClient = {
  keys: () => Promise<string[]>
  products: () => Promise<LiveProduct[]>
  coupons: () => Promise<LiveCoupon[]>
  /** Undefined where there is no such product. */
  product: (key: string) => Promise<LiveProduct | undefined>
  coupon: (key: string) => Promise<LiveCoupon | undefined>
  /** What makes a product or coupon, or a plan's place, as wanted; a rehearsal checks it and stores nothing. */
  send: (call: Call, rehearsal: boolean) => Promise<void>
  /** Undefined where there is no such plan. */
  read: (key: string) => Promise<LivePlan | undefined>
  /** Stores the plan or the version that a difference names; a rehearsal checks all of it and stores nothing. */
  store: (difference: PlanDifference, effectiveFromMs: number | undefined, rehearsal: boolean) => Promise<void>
  storeEntitlements: (difference: PlanDifference) => Promise<void>
}

export function createCatalogueClient(options: {
  url: string
  key: string
  pauseMs?: (attempt: number) => number
}): CatalogueClient {
  const { call } = createImportClient(options)
  const pages = async (path: string) => {
    const all: Static<typeof Page>[] = []
    for (let after = ''; ; ) {
      const page = checked(Page, path, await call('GET', `${path}?limit=999${after}`))
      all.push(page)
      if (page.next === null) return all
      after = `&after=${page.next}`
    }
  }
  const one = async <Shape extends typeof LiveProduct | typeof LiveCoupon>(shape: Shape, noun: string, key: string) => {
    const path = `${noun}/${encodeURIComponent(key)}`
    const answer = await call('GET', path)
    if (answer.status === 404) return undefined
    const found = checked(shape, path, answer)
    // What is found by its id is another one.
    return found.key === key ? found : undefined
  }
  return {
    keys: async () => {
      const keys = (await pages('/plans')).flatMap(({ plans = [] }) => plans.map(({ key }) => key))
      return [...new Set(keys)].sort()
    },
    products: async () => sortedByKey((await pages('/products')).flatMap(({ products = [] }) => products)),
    coupons: async () => sortedByKey((await pages('/coupons')).flatMap(({ coupons = [] }) => coupons)),
    product: (key) => one(LiveProduct, '/products', key),
    coupon: (key) => one(LiveCoupon, '/coupons', key),
    send: async ({ method, path, body }, rehearsal) =>
      accepted(path, await call(method, rehearsal ? `${path}?dry_run=true` : path, body)),
    read: async (key) => {
      const path = `/plans/${encodeURIComponent(key)}/versions`
      const answer = await call('GET', path)
      if (answer.status === 404) return undefined
      const latest = checked(Versions, path, answer).versions.at(-1)
      if (latest === undefined) return undefined
      const held = `/entitlements/plan/${encodeURIComponent(key)}`
      const { entitlements } = checked(Entitlements, held, await call('GET', held))
      return livePlan(latest, new Map(entitlements.map(({ feature, entitlement }) => [feature, entitlement])))
    },
    store: async ({ plan, version }, effectiveFromMs, rehearsal) => {
      const { key, ...content } = toWire(plan)
      const path = version === 1 ? '/plans' : `/plans/${encodeURIComponent(key)}/versions`
      const from = effectiveFromMs === undefined ? {} : { effective_from: new Date(effectiveFromMs).toISOString() }
      const body = version === 1 ? { key, ...content } : { version, ...from, ...content }
      accepted(
        `Plan ${JSON.stringify(key)}: ${path}`,
        await call('POST', rehearsal ? `${path}?dry_run=true` : path, body),
      )
    },
    storeEntitlements: async ({ plan, entitlements }) => {
      for (const { feature, after } of entitlements) {
        const path = `/entitlements/plan/${encodeURIComponent(plan.key)}/${encodeURIComponent(feature)}`
        const answer = after === undefined ? await call('DELETE', path) : await call('PUT', path, after)
        // Sent again after an answer that was lost, it is gone already.
        if (after !== undefined || answer.status !== 404) accepted(`Plan ${JSON.stringify(plan.key)}: ${path}`, answer)
      }
    },
  }
}

function sortedByKey<Entry extends { key: string }>(entries: readonly Entry[]): Entry[] {
  return [...entries].sort((a, b) => (a.key < b.key ? -1 : 1))
}

function livePlan(plan: Static<typeof Plan>, entitlements: LivePlan['entitlements']): LivePlan {
  const { name, currency, interval, every, alignment, fees, charges, version, effective_from: from } = plan
  const [graceSeconds, prorationBasis] = [plan.grace_seconds, plan.proration_basis] as const
  const kind = plan.kind === 'add_on' ? { kind: plan.kind } : {}
  const terms = { name, currency, interval, every, alignment, graceSeconds, prorationBasis, fees, ...kind }
  const content = { ...terms, charges: charges.map(withTaxClass) }
  const listing = { product: plan.product, archived: plan.archived_at !== null }
  return { content, version, effectiveFromMs: from === null ? null : Date.parse(from), entitlements, listing }
}

type Shapes = typeof Page | typeof Versions | typeof Entitlements | typeof LiveProduct | typeof LiveCoupon
function checked<Shape extends Shapes>(shape: Shape, what: string, answer: Answer): Static<Shape> {
  accepted(what, answer)
  if (Check(shape, answer.body)) return answer.body as Static<Shape>
  throw new Error(`${what} was answered in a form that this command does not know: is the product of another version?`)
}

function accepted(what: string, answer: Answer): void {
  if (answer.status >= 300) throw refused(what, answer)
}
