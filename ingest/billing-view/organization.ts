import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { INTERVALS, periodAt } from '../../schemas/time/period.ts'

const Subscription = Type.Object({
  id: Type.String(),
  key: Type.String(),
  plan: Type.String(),
  planName: Type.String(),
  state: Type.String(),
  startMs: Type.Number(),
  endMs: Type.Union([Type.Number(), Type.Null()]),
  interval: Type.Enum(INTERVALS),
  every: Type.Number(),
  alignment: Type.Union([Type.Literal('calendar'), Type.Literal('anniversary')]),
  // From when on its periods recur so; left out, as by another version: from its start.
  anchorMs: Type.Optional(Type.Number()),
})
export type Subscription = Static<typeof Subscription>

/** A customer with its subscriptions that have not ended, the latest last. What follows from the time is not in it. */
const Organization = Type.Object({
  id: Type.String(),
  key: Type.String(),
  zone: Type.String(),
  subscriptions: Type.Array(Subscription),
})
export type Organization = Static<typeof Organization>

/** What is kept of a user (`organization` is an id, null for nobody's), and of an organization. */
const KeptUser = Type.Object({ organization: Type.Union([Type.String(), Type.Null()]), readAtMs: Type.Number() })
const KeptOrganization = Type.Object({ organization: Organization, readAtMs: Type.Number() })

/** Undefined for what another version kept, or nobody. */
export function readKeptUser(text: string | undefined): Static<typeof KeptUser> | undefined {
  const kept = parsed(text)
  return Value.Check(KeptUser, kept) ? kept : undefined
}
export function readKeptOrganization(text: string | undefined): Static<typeof KeptOrganization> | undefined {
  const kept = parsed(text)
  return Value.Check(KeptOrganization, kept) ? kept : undefined
}

function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? 'null')
  } catch {
    return undefined
  }
}

/** Subscriptions that run at a time, the latest last: its plan is the tier. */
export function subscriptionsInForce(organization: Organization | undefined, nowMs: number): Subscription[] {
  const all = organization?.subscriptions ?? []
  return all.filter(({ startMs, endMs }) => startMs <= nowMs && (endMs === null || nowMs < endMs))
}

/** The period that a subscription in force is in. */
export function currentPeriod(subscription: Subscription, zone: string, nowMs: number) {
  return periodAt({ ...subscription, startMs: subscription.anchorMs ?? subscription.startMs, zone }, nowMs)
}
