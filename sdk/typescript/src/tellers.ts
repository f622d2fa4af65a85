import { type DeadLetter, type Entry, eventOf } from './event.ts'
import type { Intake } from './intake.ts'
import type { Dead } from './sender.ts'
import type { Full, LeaseFailure, Settings } from './settings.ts'
import { type Counts, waitingOf } from './stats.ts'

/** Counts and tells what will not be sent. What a callback of the service throws must not stop its events. */
export function createTellers(settings: Settings, counts: Counts, intake: Intake) {
  const countError = () => {
    counts.callbackErrors++
  }
  const underWay = new Set<unknown>()
  const tell = <T>(callback: (told: T) => unknown, told: T) => {
    // A callback that emits what cannot be taken either would call itself for ever.
    if (underWay.has(callback)) return countError()
    underWay.add(callback)
    try {
      const result = callback(told)
      if (typeof result === 'object' && result !== null) Promise.resolve(result).catch(countError)
    } catch {
      countError()
    } finally {
      underWay.delete(callback)
    }
  }
  const bury = (letter: DeadLetter) => {
    counts.dead++
    tell(settings.onDead, letter)
  }
  return {
    bury,
    buryEntry: ({ id, text }: Entry, dead: Dead) => bury({ ...dead, id, event: eventOf(text) }),
    drop: (id: string, reason: Full['reason']) => {
      counts.dropped++
      tell(settings.onFull, { id, reason, waiting: waitingOf(counts), bytes: intake.heldBytes() })
    },
    onLeaseFailure: (failure: LeaseFailure) => tell(settings.quota.onFailure, failure),
  }
}
