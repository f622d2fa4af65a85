import { eventually } from '../../support/product.ts'
import { randomOf } from '../../support/random.ts'
import { boundOf, lostOf, underWayAt } from './overspend-bound.ts'
import { startBurst } from './overspend-burst.ts'
import type { FaultKind } from './overspend-faults.ts'
import { EVENT_TYPE, ingestUrls, limitSubject, METER, type OverspendWorld, usageOf } from './overspend-world.ts'

/** In units, but for the counts of requests. */
export type OverspendRun = {
  limit: number
  /** Exact usage at the end, and what emitters were told. */
  usage: number
  spent: number
  overspend: number
  bound: number
  refused: number
  /** Acknowledged before the fault, and not in the state that survives it. */
  lost: number
  /** Requests that it happened to, and tries without an answer that says what became of them. */
  underWay: number
  failures: number
  tookMs: number
}

const LIMIT = 2_000

/** A subject's limit is used up while the fault happens, at a moment that the seed draws. */
export async function overspendRun(
  world: OverspendWorld,
  kind: FaultKind,
  seed: number,
  urls: () => string[] = () => ingestUrls(world),
): Promise<OverspendRun> {
  const random = randomOf(seed)
  const subject = `subject-${seed}`
  await kind.ready(world)
  await limitSubject(world, subject, LIMIT, urls())
  const beganMs = performance.now()
  const burst = startBurst({ urls, key: world.key, subject, meter: METER, type: EVENT_TYPE })
  await burst.reaches(LIMIT * (0.2 + 0.3 * random.next()))
  const fault = await kind.strike(world, subject, random)
  await burst.done
  const tookMs = Math.round(performance.now() - beganMs)
  await kind.mend?.(world)
  const { claims } = burst
  const spent = burst.spent()
  const usage = await eventually(
    () => usageOf(world, subject),
    (units) => units === spent,
  )
  return {
    ...{ limit: LIMIT, usage, spent, overspend: usage - LIMIT, bound: boundOf(claims, fault) },
    ...{ refused: burst.refused(), lost: lostOf(claims, fault) },
    ...{ underWay: underWayAt(claims, fault), failures: burst.failures(), tookMs },
  }
}
