import type { Database } from 'lmdb'
import { Problem } from '../../schemas/http/problem.ts'
import { lmdbCounterAdmin } from './counter-admin.lmdb.ts'
import { COUNTER_TTL_MS, livesMs } from './counter-life.ts'
import { gatherDraws } from './gathered-draws.ts'
import { lmdbHoldStore } from './hold-store.lmdb.ts'
import { createLmdbHolds, type LmdbHolds } from './holds.lmdb.ts'
import { atLeastZero } from './lesser.ts'
import {
  type CounterKey,
  counterId,
  countersOf,
  decide,
  type QuotaItem,
  type QuotaStore,
  usedAgainst,
} from './quota-store.ts'

/** A resend within this time draws nothing. */
const SEEN_MS = 15 * 60_000
const SWEEP_EVERY_MS = 60_000

const seenKey = (identity: string) => `seen\n${identity}`
const counterKey = (counter: CounterKey) => `used\n${counterId(counter)}`

/**
 * Counters in LMDB: `used\n…` → "<micro> <last use in ms>", of short buckets as if that had been earlier, because they live
 * for less than a day; `seen\n…` → "<expiry in ms>". Each call, or draws that
 * come together (gathered-draws.ts), is one synchronous transaction, which is what the one Lua script is on Redis. The
 * folder is not flushed: it survives kill -9, and what a power loss takes is loaded again from usage.
 */
export function createLmdbQuotaStore(db: Database<string, string>, now: () => number): QuotaStore {
  const usedOf = (counter: CounterKey, nowMs: number): bigint | undefined => {
    const [micro, usedAtMs] = (db.get(counterKey(counter)) ?? '').split(' ')
    return micro && Number(usedAtMs) + COUNTER_TTL_MS > nowMs ? BigInt(micro) : undefined
  }
  const put = (counter: CounterKey, micro: bigint, nowMs: number) =>
    void db.putSync(counterKey(counter), `${micro} ${nowMs + livesMs(counter) - COUNTER_TTL_MS}`)
  const holds = createLmdbHolds(db, { used: usedOf, put })
  const sweep = setInterval(() => sweepUp(db, holds, now()), SWEEP_EVERY_MS)
  sweep.unref()

  return {
    ...lmdbHoldStore((change) => changed(db, change), holds, usedOf),
    ...lmdbCounterAdmin(db, (change) => changed(db, change), { used: usedOf, put }, holds.held),
    draw: gatherDraws(
      async (items, nowMs, enforce) =>
        changed(db, () => {
          if (items.some(({ hold }) => hold !== undefined)) holds.sweep(nowMs)
          const { used, missing } = lookAtAll(items, (counter) => usedOf(counter, nowMs))
          if (missing.size > 0) return { missing: [...missing.values()] }
          const decisions = items.map((item) => {
            const seen = Number(db.get(seenKey(item.identity)) ?? 0) > nowMs
            const takes = item.hold === undefined ? undefined : seen ? [] : holds.take(item.hold, item.draws)
            const fromHold = takes?.map((take) => take.micro)
            const usedNow = (counter: CounterKey) => used.get(idOf(counter))?.micro ?? 0n
            const decision = decide(item, (draw) => usedAgainst(draw, usedNow), seen, enforce, fromHold)
            if (decision.drawn) {
              for (const [place, { counter, micro }] of item.draws.entries()) {
                add(used, counter, micro)
                const take = takes?.[place]
                if (take) add(used, take.counter, -take.micro)
              }
              db.putSync(seenKey(item.identity), String(nowMs + SEEN_MS))
            }
            return decision
          })
          for (const { counter, micro, isDrawnOn } of used.values()) if (isDrawnOn) put(counter, micro, nowMs)
          return { decisions }
        }),
      () => false,
    ),
    giveBack: async (items) =>
      changed(db, () => {
        for (const item of items) {
          // Only what still has its mark: given back twice, it is given back once.
          if (!db.removeSync(seenKey(item.identity))) continue
          for (const { counter, micro } of item.draws) {
            const used = usedOf(counter, now())
            if (used !== undefined) put(counter, atLeastZero(used - micro), now())
          }
        }
      }),
    load: async (uses, nowMs) =>
      changed(db, () => {
        for (const { counter, usedMicro } of uses) {
          if (usedOf(counter, nowMs) === undefined) put(counter, atLeastZero(usedMicro) + holds.held(counter), nowMs)
        }
      }),
    // Of one process, which sends into the log itself what it drew.
    memory: async () => ({ since: '', forMs: Number.POSITIVE_INFINITY }),
    ping: async () => undefined,
    close: async () => clearInterval(sweep),
  }
}

type Used = { counter: CounterKey; micro: bigint; isDrawnOn: boolean }

/** The counters that items are decided by, or which of them are missing. */
function lookAtAll(items: readonly QuotaItem[], usedOf: (counter: CounterKey) => bigint | undefined) {
  const used = new Map<string, Used>()
  const missing = new Map<string, CounterKey>()
  const look = (counter: CounterKey) => {
    const id = idOf(counter)
    if (used.has(id) || missing.has(id)) return
    const micro = usedOf(counter)
    if (micro === undefined) missing.set(id, counter)
    else used.set(id, { counter, micro, isDrawnOn: false })
  }
  for (const { draws } of items)
    for (const draw of draws) {
      if (draw.windows) countersOf(draw).forEach(look)
      else look(draw.counter)
    }
  return { used, missing }
}

function add(used: ReadonlyMap<string, Used>, counter: CounterKey, micro: bigint): void {
  const known = used.get(idOf(counter))
  if (!known) return
  known.micro = atLeastZero(known.micro + micro)
  known.isDrawnOn = true
}

/** Whoever asks again asks with the same object: see `counterAt`. */
const ids = new WeakMap<CounterKey, string>()

function idOf(counter: CounterKey): string {
  let id = ids.get(counter)
  if (id === undefined) {
    id = counterId(counter)
    ids.set(counter, id)
  }
  return id
}

/** A disk that is full refuses the change, and leaves the counters as they were. */
function changed<T>(db: Database<string, string>, change: () => T): T {
  try {
    return db.transactionSync(change)
  } catch (cause) {
    throw new Problem('unavailable', 'The quota counters cannot be written: try again', { cause })
  }
}

/** What a full disk keeps from being removed is removed in a later turn. */
function sweepUp(db: Database<string, string>, holds: LmdbHolds, nowMs: number): void {
  try {
    removeExpired(db, holds, nowMs)
  } catch {
    // Expired entries count nothing meanwhile: they are read with their time.
  }
}

function removeExpired(db: Database<string, string>, holds: LmdbHolds, nowMs: number): void {
  db.transactionSync(() => {
    holds.forget(nowMs)
    for (const { key, value } of db.getRange({ start: 'seen\n', end: 'seen\u000b' })) {
      if (Number(value) <= nowMs) db.removeSync(key)
    }
    for (const { key, value } of db.getRange({ start: 'used\n', end: 'used\u000b' })) {
      if (Number(value.split(' ')[1]) + COUNTER_TTL_MS <= nowMs) db.removeSync(key)
    }
  })
}
