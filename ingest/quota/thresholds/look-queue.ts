import type { Logger } from 'pino'
import type { TenantId } from '../../../schemas/http/door.ts'
import { groupBy } from '../../group-by.ts'
import type { AlertAnswer } from './alert.ts'
import { type LookDeps, lookAt } from './look.ts'
import type { Watched } from './watched.ts'

export type QueueDeps = LookDeps & {
  logger: Logger
  /** Told of every alert, when it is durable. */
  fired: (tenant: TenantId, alerts: readonly AlertAnswer[]) => void
}

export type LookQueue = {
  /** Nothing is kept when it is full. */
  add(watched: Watched): void
  isEmpty(): boolean
  /** Looks at those that may be looked at by then. Never rejects: what fails goes on waiting. */
  lookAt(nowMs: number): Promise<void>
  /** From now on no look begins. */
  giveUp(): void
}

/** A counter of which a look taught nothing is looked at again after this, and so is one that could not be looked at. */
const LOOK_AGAIN_MS = 1_000
const MOST_AT_ONCE = 500
const TENANTS_AT_ONCE = 4
/** After so many failures of its own a counter waits no longer, until a draw or who passes by finds it a minute later. */
const MOST_FAILURES = 3
const LOOK_AT_DROPPED_MS = 60_000
/** So many failures in a row are everybody's trouble: the others are not tried. */
const MOST_IN_A_ROW = 3
const WARN_EVERY_MS = 60_000

/** Counters that wait to be looked at. Times are of the process's own clock. */
export function createLookQueue(deps: QueueDeps, most: number): LookQueue {
  const waiting = new Set<Watched>()
  let warnedMs = Number.NEGATIVE_INFINITY
  let givenUp = false

  const failed = (error: unknown) => {
    if (performance.now() < warnedMs + WARN_EVERY_MS) return
    warnedMs = performance.now()
    const members = { service: 'ingest', event: 'thresholds_wait', err: error }
    deps.logger.warn(members, 'levels of quotas cannot be looked at; tried every second')
  }
  /** Looks at them one by one: a counter that cannot be read holds up no others. */
  const lookAtEach = async (group: readonly Watched[]): Promise<void> => {
    const wrong: Watched[] = []
    let inARow = 0
    let place = 0
    for (; place < group.length && inARow < MOST_IN_A_ROW && !givenUp; place++) {
      const one = group.slice(place, place + 1)
      const isWell = await tryLook(deps, one, failed)
      inARow = isWell ? 0 : inARow + 1
      if (!isWell) wrong.push(...one)
    }
    // While others can be read it is the counter's own trouble, and not that of a database.
    const isTheirs = place > wrong.length
    // Those that failed come last the next time.
    for (const watched of group.slice(place)) waiting.add(later(watched, LOOK_AGAIN_MS))
    for (const watched of wrong) {
      if (isTheirs && ++watched.failures >= MOST_FAILURES) later(watched, LOOK_AT_DROPPED_MS)
      else waiting.add(later(watched, LOOK_AGAIN_MS))
    }
  }
  /** Of one tenant. */
  const lookAtGroup = async (group: readonly Watched[]): Promise<void> => {
    // Who is drawn on while it is looked at waits again.
    for (const watched of group) waiting.delete(watched)
    if (await tryLook(deps, group, failed)) return
    if (group.length > 1) await lookAtEach(group)
    else for (const watched of group) waiting.add(later(watched, LOOK_AGAIN_MS))
  }
  return {
    add: (watched) => {
      if (waiting.size < most) waiting.add(watched)
    },
    isEmpty: () => waiting.size === 0,
    lookAt: async (nowMs) => {
      const due = [...waiting].filter(({ notBeforeMs }) => notBeforeMs <= nowMs)
      const groups = groupBy(due, ({ counter }) => String(counter.tenant)).values()
      const takeTurns = async () => {
        for (const all of groups)
          for (let from = 0; from < all.length && !givenUp; from += MOST_AT_ONCE)
            await lookAtGroup(all.slice(from, from + MOST_AT_ONCE))
      }
      await Promise.all(Array.from({ length: TENANTS_AT_ONCE }, takeTurns))
    },
    giveUp: () => {
      givenUp = true
    },
  }
}

/** Looks at counters of one tenant; answers whether it went well. */
async function tryLook(deps: QueueDeps, group: readonly Watched[], failed: (error: unknown) => void): Promise<boolean> {
  const tenant = group[0]?.counter.tenant ?? 0
  const before = group.map(({ nextShare }) => nextShare)
  try {
    const fired = await lookAt(deps, tenant, group)
    if (fired.length > 0) deps.fired(tenant, fired)
    group.forEach((watched, place) => {
      watched.failures = 0
      // A look that taught nothing would be followed by another one at the next draw.
      if (watched.nextShare === before[place]) later(watched, LOOK_AGAIN_MS)
    })
    return true
  } catch (error) {
    failed(error)
    return false
  }
}

function later(watched: Watched, waitMs: number): Watched {
  watched.notBeforeMs = performance.now() + waitMs
  return watched
}
