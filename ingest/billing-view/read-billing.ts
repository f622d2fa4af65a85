import type { Caller } from '../../schemas/http/door.ts'
import type { Feature } from '../entitlements/grants.ts'
import { formatMicro, type QuotaLimit } from '../quota/limit.ts'
import { type QuotaDeps, visibleTo } from '../quota/quota-deps.ts'
import { readQuota } from '../quota/read-quota.ts'
import type { LimitState } from '../quota/standing.ts'
import { type FindOrganizationDeps, type FoundOrganization, findOrganization } from './find-organization.ts'
import { currentPeriod, type Organization, type Subscription, subscriptionsInForce } from './organization.ts'

/** `defaultPlan`: the tier of whoever has no subscription. */
export type ReadBillingDeps = QuotaDeps & FindOrganizationDeps & { defaultPlan: string }

/** Times are ISO 8601; `as_of`: Postgres is away, and it was so then. */
type Whose = { user_id: string; organization_id: string | null; tier: string; as_of?: string }
export type BillingQuota = Whose & { limits: LimitState[]; features: readonly Feature[] }
export type BillingSubscription = Whose & {
  subscription: SubscriptionNow | null
  other_subscriptions: SubscriptionNow[]
  limits: GrantedLimit[]
  features: readonly Feature[]
}
export type SubscriptionNow = {
  id: string
  key: string
  plan: string
  plan_name: string
  state: string
  started_at: string
  ends_at: string | null
  current_period_start: string
  current_period_end: string
}
export type GrantedLimit = Pick<
  LimitState,
  'feature' | 'granted_by' | 'meter' | 'window' | 'shared_by' | 'enforcement' | 'limit'
>

/**
 * The limits of a user, and the tier they follow from. To a scope that does not come to the user it is as unknown as
 * nobody; and to a user an organization is more than the own usage, the own one too (decision 0014).
 */
export async function readBillingQuota(deps: ReadBillingDeps, caller: Caller, user: string): Promise<BillingQuota> {
  const isVisible = await visibleTo(deps, caller)
  const quota = await readQuota(deps, caller, user)
  const found = isVisible(user) ? await findOrganization(deps, caller.tenantId, user) : {}
  const whose = whoseOf(deps, user, found)
  const seesOrganization = caller.scope === 'everything' || 'customer' in caller.scope
  return { ...whose, organization_id: seesOrganization ? whose.organization_id : null, ...quota }
}

/** The subscription that a user's organization has, of several the latest, and what it entitles the user to. */
export async function readBillingSubscription(
  deps: ReadBillingDeps,
  { tenantId }: Caller,
  user: string,
): Promise<BillingSubscription> {
  const nowMs = deps.now()
  const found = await findOrganization(deps, tenantId, user)
  const all = subscriptionsInForce(found.organization, nowMs).map((one) => stateOf(one, found.organization, nowMs))
  const subscription = all.pop() ?? null
  const { limits, features } = (await deps.config.get(tenantId)).grantsOf(user)
  return {
    ...whoseOf(deps, user, found),
    ...{ subscription, other_subscriptions: all, limits: limits.map(termsOf), features },
  }
}

function whoseOf({ defaultPlan, now }: ReadBillingDeps, user: string, found: FoundOrganization): Whose {
  const { organization, readAtMs } = found
  return {
    user_id: user,
    organization_id: organization?.key ?? null,
    tier: subscriptionsInForce(organization, now()).at(-1)?.plan ?? defaultPlan,
    ...(readAtMs === undefined ? {} : { as_of: iso(readAtMs) }),
  }
}

function stateOf(one: Subscription, organization: Organization | undefined, nowMs: number): SubscriptionNow {
  const { id, key, plan, planName, state, startMs, endMs } = one
  const period = currentPeriod(one, organization?.zone ?? 'UTC', nowMs) ?? { startMs, endMs: endMs ?? startMs }
  return {
    ...{
      id,
      key,
      plan,
      plan_name: planName,
      state,
      started_at: iso(startMs),
      ends_at: endMs === null ? null : iso(endMs),
    },
    ...{ current_period_start: iso(period.startMs), current_period_end: iso(period.endMs) },
  }
}

function termsOf({ feature, grantedBy, meter, window, ofCustomer, soft, limitMicro }: QuotaLimit): GrantedLimit {
  return {
    ...{ feature, granted_by: grantedBy, meter, window, limit: formatMicro(limitMicro) },
    shared_by: ofCustomer ? 'customer' : 'subject',
    enforcement: soft ? 'soft' : 'hard',
  }
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
