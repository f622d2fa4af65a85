import { type Static, Type } from 'typebox'
import { Check } from 'typebox/value'
import { Entitlement } from '../../../ingest/entitlements/entitlement.ts'
import { FEE_TIMES } from '../../../invoicer/agreements/plans/plan.ts'
import { INTERVALS } from '../../../schemas/time/period.ts'
import { type Answer, createImportClient, refused } from '../import/import-client.ts'
import type { LivePlan, PlanDifference } from './difference.ts'
import { toWire } from './plan-file.ts'

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
  grace_seconds: Type.Integer(),
  charges: Type.Array(
    Type.Object({
      key: Type.String(),
      name: Type.String(),
      meter: Type.Union([Type.String(), Type.Null()]),
      price: Type.Object({ model: Type.String() }),
      attributes: Type.Optional(Type.Array(Type.String())),
    }),
  ),
})
const PlanPage = Type.Object({
  plans: Type.Array(Type.Object({ key: Type.String() })),
  next: Type.Union([Type.String(), Type.Null()]),
})
const Versions = Type.Object({ versions: Type.Array(Plan, { minItems: 1 }) })
const Entitlements = Type.Object({
  entitlements: Type.Array(Type.Object({ feature: Type.String(), entitlement: Entitlement })),
})

/** The catalogue of a running product. Every call may be sent again, and is, until there is a final answer. */
export type CatalogueClient = {
  keys: () => Promise<string[]>
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
  return {
    keys: async () => {
      const keys: string[] = []
      for (let after = ''; ; ) {
        const { plans, next } = checked(PlanPage, '/plans', await call('GET', `/plans?limit=999${after}`))
        keys.push(...plans.map(({ key }) => key))
        if (next === null) return [...new Set(keys)].sort()
        after = `&after=${next}`
      }
    },
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

function livePlan(plan: Static<typeof Plan>, entitlements: LivePlan['entitlements']): LivePlan {
  const { name, currency, interval, every, alignment, fees, charges, version, effective_from: from } = plan
  const [graceSeconds, prorationBasis] = [plan.grace_seconds, plan.proration_basis] as const
  const content = { name, currency, interval, every, alignment, graceSeconds, prorationBasis, fees, charges }
  return { content, version, effectiveFromMs: from === null ? null : Date.parse(from), entitlements }
}

function checked<Shape extends typeof PlanPage | typeof Versions | typeof Entitlements>(
  shape: Shape,
  what: string,
  answer: Answer,
): Static<Shape> {
  accepted(what, answer)
  if (Check(shape, answer.body)) return answer.body as Static<Shape>
  throw new Error(`${what} was answered in a form that this command does not know: is the product of another version?`)
}

function accepted(what: string, answer: Answer): void {
  if (answer.status >= 300) throw refused(what, answer)
}
