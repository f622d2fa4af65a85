import { parseQuantity } from '../../schemas/quantity.ts'
import { periodAt, type Schedule } from '../../schemas/time/period.ts'
import { groupBy } from '../group-by.ts'
import {
  type QuotaLimit,
  type Threshold,
  toMicroFloor,
  type WindowName,
  type WindowTimes,
  windowOf,
} from '../quota/limit.ts'
import {
  type Entitlement,
  HOLDER_KINDS,
  type HolderKind,
  type Metered,
  type StoredEntitlement,
  withDefaults,
} from './entitlement.ts'

/** What a subject has beside limits. */
export type Feature = { feature: string; grantedBy: HolderKind } & Exclude<Entitlement, { type: 'metered' }>

/** All that holds for a subject. `plans`: those of the customer's subscriptions; without any, the default one. */
export type Grants = {
  limits: readonly QuotaLimit[]
  features: readonly Feature[]
  customer?: Customer
  plans: readonly string[]
}

export type Customer = { id: string; key: string }
/** A subscription that is in force; of those of a customer the latest stands last. */
export type Subscribed = { customerId: string; plan: string; schedule: Schedule }

export type GrantTables = {
  entitlements: readonly StoredEntitlement[]
  /** The customer of a subject. Not asked for while no entitlement needs it. */
  customerOf: ReadonlyMap<string, Customer>
  subscriptions: readonly Subscribed[]
  /** The plan whose entitlements hold for whoever has no subscription. */
  defaultPlan: string
}

/** Subjects whose grants are remembered. */
const MOST_KNOWN = 100_000

/** An entitlement of a holder, its numbers read once for all whom it is for. */
type Granted = {
  feature: string
  grantedBy: HolderKind
  terms: Exclude<Entitlement, { type: 'metered' }> | MeteredTerms
}
type MeteredTerms = { type: 'metered'; given: Metered; limitMicro: bigint; thresholds: readonly Threshold[] }

/**
 * What each subject is granted, computed when it is first asked for. Of a feature the nearest holder says what holds: the
 * subject, then its customer, then the plan. Of several plans it is that of the latest subscription: after an upgrade
 * the new one. A limit of an organization and one of each user inside it are two features, and both hold.
 */
export function createGrants(tables: GrantTables): (subject: string) => Grants {
  if (tables.entitlements.length === 0) {
    const none: Grants = { limits: [], features: [], plans: [tables.defaultPlan] }
    return () => none
  }
  const ofHolder = groupBy(tables.entitlements, ({ holderKind, holder }) => holderId(holderKind, holder))
  const read = new Map([...ofHolder].map(([id, stored]) => [id, stored.map(readTerms)]))
  const ofCustomer = groupBy(tables.subscriptions, ({ customerId }) => customerId)
  const known = new Map<string, Grants>()
  return (subject) => {
    let grants = known.get(subject)
    if (!grants) {
      // Anybody can be asked for, and this is kept as long as Postgres is away.
      if (known.size >= MOST_KNOWN) known.clear()
      grants = grantsOf(subject, tables, read, ofCustomer)
      known.set(subject, grants)
    }
    return grants
  }
}

/** Whether an entitlement is more than a subject's own: it asks whose customer a subject is, or for the subscription. */
export function needsCustomers({ holderKind, entitlement }: StoredEntitlement): boolean {
  if (holderKind !== 'subject') return true
  return entitlement.type === 'metered' && (entitlement.per === 'customer' || entitlement.window === 'billing_period')
}

function grantsOf(
  subject: string,
  { customerOf, defaultPlan }: GrantTables,
  ofHolder: ReadonlyMap<string, readonly Granted[]>,
  ofCustomer: ReadonlyMap<string, readonly Subscribed[]>,
): Grants {
  const customer = customerOf.get(subject)
  const subscriptions = (customer && ofCustomer.get(customer.id)) ?? []
  const plans = subscriptions.length === 0 ? [defaultPlan] : subscriptions.map(({ plan }) => plan)
  const holders: Record<HolderKind, readonly string[]> = {
    plan: plans,
    customer: customer ? [customer.key] : [],
    subject: [subject],
  }
  const granted = new Map<string, Granted & { schedule: Schedule | undefined }>()
  for (const kind of HOLDER_KINDS)
    for (const holder of holders[kind]) {
      // What a plan grants goes by the subscription to it, everything else by the latest.
      const ofPlan = subscriptions.findLast(({ plan }) => kind === 'plan' && plan === holder)
      const { schedule } = ofPlan ?? subscriptions.at(-1) ?? {}
      for (const one of ofHolder.get(holderId(kind, holder)) ?? []) granted.set(one.feature, { ...one, schedule })
    }
  const limits: QuotaLimit[] = []
  const features: Feature[] = []
  for (const { feature, grantedBy, terms, schedule } of granted.values()) {
    if (terms.type === 'metered') limits.push(limitOf({ feature, grantedBy, subject }, terms, customer, schedule))
    else features.push({ feature, grantedBy, ...terms })
  }
  return { limits, features, plans, ...(customer ? { customer } : {}) }
}

function limitOf(
  whose: Pick<QuotaLimit, 'feature' | 'grantedBy' | 'subject'>,
  { given, limitMicro, thresholds }: MeteredTerms,
  customer: Customer | undefined,
  schedule: Schedule | undefined,
): QuotaLimit {
  const { meter, window, when_away: whenAway } = given
  const shared = given.per === 'customer' && customer
  return {
    ...whose,
    ...{ meter, limitMicro, window, windowAt: windowAtOf(window, schedule), whenAway, thresholds },
    holder: shared ? shared.id : whose.subject,
    ...(shared ? { ofCustomer: true } : {}),
    ...(given.enforcement === 'soft' ? { soft: true } : {}),
  }
}

function windowAtOf(window: WindowName, schedule: Schedule | undefined): (timeMs: number) => WindowTimes {
  if (window !== 'billing_period') return (timeMs) => windowOf(timeMs, window)
  return (timeMs) => {
    const period = schedule && periodAt(schedule, timeMs)
    return period ? { startMs: period.startMs, endMs: period.endMs } : windowOf(timeMs, 'month')
  }
}

function readTerms({ holderKind, feature, entitlement }: StoredEntitlement): Granted {
  if (entitlement.type !== 'metered') return { feature, grantedBy: holderKind, terms: entitlement }
  const given = withDefaults(entitlement)
  const limitMicro = toMicroFloor(parseQuantity(given.limit))
  const thresholds = given.thresholds.map(thresholdOf)
  return { feature, grantedBy: holderKind, terms: { type: 'metered', given, limitMicro, thresholds } }
}

function thresholdOf(text: string): Threshold {
  return text.endsWith('%') ? { percent: Number(text.slice(0, -1)) } : { micro: toMicroFloor(parseQuantity(text)) }
}

function holderId(kind: HolderKind, holder: string): string {
  return `${kind}\n${holder}`
}
