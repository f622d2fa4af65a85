import type { Database } from 'lmdb'
import { COUNTERS_A_PAGE, type CounterAdmin, counterNamed, type LivingCounter } from './counter-admin.ts'
import type { Counters } from './holds.lmdb.ts'
import type { CounterKey } from './quota-store.ts'

/** Name: tenant, meter, window, subject. A subject may hold anything, line breaks too, so that it stands last. */
const COUNTER_KEY = /^used\n(\d+)\n([^\n]+)\n(-?\d+)\n(-?\d+)\n(.*)$/s

/** A correction is one transaction, which `changed` runs. */
export function lmdbCounterAdmin(
  db: Database<string, string>,
  changed: <T>(change: () => T) => T,
  counters: Counters,
  held: (counter: CounterKey) => bigint,
): CounterAdmin {
  /** Undefined: there is none. */
  const look = (counter: CounterKey, nowMs: number): Pick<LivingCounter, 'usedMicro'> | undefined => {
    try {
      const usedMicro = counters.used(counter, nowMs)
      return usedMicro === undefined ? undefined : { usedMicro }
    } catch (error) {
      // What BigInt says of a text that is no number: draws on the counter fail of it.
      if (error instanceof SyntaxError) return { usedMicro: undefined }
      throw error
    }
  }
  const lookAt = (keys: readonly CounterKey[], nowMs: number): LivingCounter[] =>
    keys.flatMap((counter) => {
      const seen = look(counter, nowMs)
      return seen ? [{ counter, ...seen, heldMicro: held(counter) }] : []
    })
  return {
    livingCounters: async function* (nowMs, tenant) {
      const ofWhom = tenant === undefined ? 'used' : `used\n${tenant}`
      let after = `${ofWhom}\n`
      for (;;) {
        // Each page is read for itself: no snapshot stays open while somebody works with one.
        const page = [...db.getKeys({ start: after, end: `${ofWhom}\u000b`, limit: COUNTERS_A_PAGE + 1 })]
        const keys = page.filter((key) => key !== after)
        const last = keys.at(-1)
        if (last === undefined) return
        after = last
        const found = keys.flatMap((key) => counterOfKey(key) ?? [])
        yield lookAt(found, nowMs)
      }
    },
    lookAt: async (keys, nowMs) => lookAt(keys, nowMs),
    correct: async (counter, fromMicro, toMicro, nowMs) =>
      changed(() => {
        const seen = look(counter, nowMs)
        if (!seen || seen.usedMicro !== fromMicro) return false
        counters.put(counter, toMicro, nowMs)
        return true
      }),
  }
}

function counterOfKey(key: string): CounterKey | undefined {
  const [, tenant, meter, startMs, endMs, subject] = COUNTER_KEY.exec(key) ?? []
  if (!tenant || !meter || !startMs || !endMs || subject === undefined) return undefined
  return counterNamed(tenant, startMs, endMs, meter, subject)
}
