import { setTimeout as sleep } from 'node:timers/promises'
import type { QuotaDecision } from '../quota-store.ts'
import { createLookQueue, type QueueDeps } from './look-queue.ts'
import { type LimitedCounter, rememberCounters, type Watched } from './watched.ts'

export type ThresholdWatch = {
  /** Called after every draw; never throws, never waits. `decisions` in the order of `events`, or empty. */
  drew(events: readonly { draws: readonly LimitedCounter[] }[], decisions: readonly (Drawn | undefined)[]): void
  /** What is remembered of a counter. */
  remembered(one: LimitedCounter): Watched
  /** It is looked at soon. */
  queue(watched: Watched): void
  /** Looks at what still waits, once, and for some seconds at most. */
  stop(): Promise<void>
}
type Drawn = Pick<QuotaDecision, 'remainingMicro' | 'limitMicro'> & { away?: true }

const LOOK_AFTER_MS = 100
/** Each takes about half a kilobyte. Beyond that, and beyond as many that wait, levels are found in passing. */
const MOST_WATCHED = 100_000
const MOST_STOP_MS = 5_000

/**
 * Notices that a counter has reached a level, and tells of it about 0.1 s later, apart from the request. A draw only
 * compares the share that its decision says is used, which no limit of the event exceeds, with the share at which the
 * next level of each lies; what comes near waits to be looked at. Whatever fails waits and is looked at again.
 */
export function createThresholdWatch(deps: QueueDeps, mostStopMs = MOST_STOP_MS): ThresholdWatch {
  const memory = rememberCounters(MOST_WATCHED)
  const waiting = createLookQueue(deps, MOST_WATCHED)
  let looking: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  let stopped = false

  const lookSoon = () => {
    if (!timer && !looking && !stopped) timer = setTimeout(look, LOOK_AFTER_MS).unref()
  }
  const look = () => {
    timer = undefined
    looking = waiting.lookAt(performance.now()).finally(() => {
      looking = undefined
      if (!waiting.isEmpty()) lookSoon()
    })
  }
  const queue = (watched: Watched) => {
    waiting.add(watched)
    lookSoon()
  }
  return {
    drew: (events, decisions) => {
      for (let place = 0; place < decisions.length; place++) {
        const [event, decision] = [events[place], decisions[place]]
        if (!event || !decision || decision.away) continue
        const share = shareUsed(decision)
        for (const draw of event.draws) {
          const watched = memory.of(draw)
          if (share >= watched.nextShare) queue(watched)
        }
      }
    },
    remembered: memory.of,
    queue,
    stop: async () => {
      stopped = true
      clearTimeout(timer)
      const late = sleep(mostStopMs, 'late', { ref: false })
      const lastLook = Promise.resolve(looking).then(() => waiting.lookAt(Number.POSITIVE_INFINITY))
      if ((await Promise.race([lastLook, late])) === 'late') waiting.giveUp()
    },
  }
}

/** Of the limit that is used most. How far beyond it a counter is, nobody knows here. */
function shareUsed({ remainingMicro, limitMicro }: Drawn): number {
  return remainingMicro === 0n ? Number.MAX_VALUE : 1 - Number(remainingMicro) / Number(limitMicro)
}
