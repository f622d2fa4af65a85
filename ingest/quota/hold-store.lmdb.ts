import type { LmdbHolds } from './holds.lmdb.ts'
import { type HoldStore, MOST_LIVING_HOLDS, MOST_SWEPT, tooManyHolds } from './holds.ts'
import { lesser } from './lesser.ts'
import { type CounterKey, counterId, countersOf, usedAgainst } from './quota-store.ts'

type UsedOf = (counter: CounterKey, nowMs: number) => bigint | undefined

/** Each operation is one transaction, which `changed` runs. */
export function lmdbHoldStore(changed: <T>(change: () => T) => T, holds: LmdbHolds, usedOf: UsedOf): HoldStore {
  /** What is used of counters, or which of them are missing. */
  const look = (counters: readonly CounterKey[], nowMs: number) => {
    const used = counters.map((counter) => usedOf(counter, nowMs))
    const missing = counters.filter((_, place) => used[place] === undefined)
    return { missing, usedMicro: used.map((micro) => micro ?? 0n) }
  }
  return {
    hold: async (request, nowMs, enforce) => {
      const answer = changed((): Awaited<ReturnType<HoldStore['hold']>> | 'too many' => {
        const known = holds.find(request.tenant, request.id)
        if (known) return { hold: known, usedMicro: known.usedMicro }
        holds.sweep(nowMs)
        const { limits, askedMicro, partly } = request
        const byId = new Map(limits.flatMap(countersOf).map((counter) => [counterId(counter), counter]))
        const { missing, usedMicro: used } = look([...byId.values()], nowMs)
        if (missing.length > 0) return { missing }
        const usedOfId = new Map([...byId.keys()].map((id, place) => [id, used[place] ?? 0n]))
        const usedMicro = limits.map((limit) => usedAgainst(limit, (one) => usedOfId.get(counterId(one)) ?? 0n))
        if (holds.living(request.tenant) >= MOST_LIVING_HOLDS) return 'too many'
        const rooms = limits.map(({ limitMicro }, place) => limitMicro - (usedMicro[place] ?? 0n))
        const room = rooms.reduce(lesser, askedMicro)
        const granted = !enforce || room >= askedMicro ? askedMicro : partly ? room : 0n
        if (granted <= 0n) return { hold: undefined, usedMicro }
        const hold = holds.grant(request, granted, usedMicro, nowMs)
        return { hold, usedMicro: hold.usedMicro }
      })
      if (answer === 'too many') throw tooManyHolds()
      return answer
    },
    release: async (tenant, id, nowMs) =>
      changed(() => {
        holds.sweep(nowMs)
        return holds.release(tenant, id, nowMs)
      }),
    returnUnused: async (tenant, id, mostMicro, nowMs) =>
      changed(() => {
        holds.sweep(nowMs)
        return holds.returnUnused(tenant, id, mostMicro, nowMs)
      }),
    subjectOfHold: async (tenant, id) => holds.find(tenant, id)?.subject,
    read: async (counters, nowMs) => {
      const { missing, usedMicro } = look(counters, nowMs)
      return missing.length > 0 ? { missing } : { usedMicro }
    },
    sweepHolds: async (nowMs) => {
      let [ended, all] = [0, 0]
      do {
        ended = changed(() => holds.sweep(nowMs))
        all += ended
      } while (ended === MOST_SWEPT)
      return all
    },
  }
}
