/**
 * Something that was asked of a limit, from when it was sent first until it was answered: in between nobody knows whether
 * it was taken. A `grant` is a lease or a reservation; a `held` event draws from one, which was counted at the grant.
 */
export type Claim = {
  kind: 'event' | 'grant' | 'held'
  units: number
  sentMs: number
  answeredMs: number
  /** What the answer said that was taken. */
  taken: number
}

/**
 * When a fault happened, by the test's clock, and what the state that survives it counts, held included. `nothing`: the
 * counter is gone, and is loaded anew from usage; `everything`: the counters were not touched.
 */
export type Fault = { beganMs: number; endedMs: number; survived: number | 'nothing' | 'everything' }

/**
 * The most that may be spent beyond the limit after it, as ingest/quota/README.md says. Of a counter that survives: all
 * that was granted and is not in it. Of one that is gone: what holds had left, and what was under way.
 */
export function boundOf(claims: readonly Claim[], fault: Fault): number {
  const { beganMs, endedMs, survived } = fault
  if (survived === 'everything') return 0
  const before = claims.filter(({ sentMs }) => sentMs < endedMs)
  const of = (kind: Claim['kind']) => before.filter((claim) => claim.kind === kind)
  const isUnderWay = ({ answeredMs }: Claim) => answeredMs >= beganMs
  const most = (claim: Claim) => (isUnderWay(claim) ? claim.units : claim.taken)
  if (survived !== 'nothing') return Math.max(0, sum([...of('event'), ...of('grant')], most) - survived)
  const usedOfHolds = of('held').filter((claim) => !isUnderWay(claim))
  return sum(of('grant'), most) - sum(usedOfHolds, taken) + sum(of('event').filter(isUnderWay), most)
}

/** What was acknowledged before the fault and is not counted by the state that survives. */
export function lostOf(claims: readonly Claim[], { beganMs, survived }: Fault): number {
  if (survived === 'everything') return 0
  const acknowledged = claims.filter(({ kind, answeredMs }) => kind !== 'held' && answeredMs < beganMs)
  return Math.max(0, sum(acknowledged, taken) - (survived === 'nothing' ? 0 : survived))
}

/** Requests that had been sent when it began, and were answered only after it. */
export function underWayAt(claims: readonly Claim[], { beganMs, endedMs }: Fault): number {
  return claims.filter(({ sentMs, answeredMs }) => sentMs < beganMs && answeredMs > endedMs).length
}

export function sum(claims: readonly Claim[], units: (claim: Claim) => number): number {
  return claims.reduce((total, claim) => total + units(claim), 0)
}

export const taken = (claim: Claim): number => claim.taken
