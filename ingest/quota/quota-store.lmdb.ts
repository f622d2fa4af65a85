import type { Database } from 'lmdb'
import { Problem } from '../../schemas/http/problem.ts'
import { gatherDraws } from './gathered-draws.ts'
import { type CounterKey, counterId, decide, type QuotaStore } from './quota-store.ts'

/** A resend within this time draws nothing; a counter unused for a day is loaded anew. */
const SEEN_MS = 15 * 60_000
const COUNTER_TTL_MS = 24 * 3_600_000
const SWEEP_EVERY_MS = 60_000

const seenKey = (identity: string) => `seen\n${identity}`
const counterKey = (counter: CounterKey) => `used\n${counterId(counter)}`

/**
 * Counters in LMDB: `used\n…` → "<micro> <last use in ms>", `seen\n…` → "<expiry in ms>". Each call, or draws that
 * come together (gathered-draws.ts), is one synchronous transaction, which is what the one Lua script is on Redis. The
 * folder is not flushed: it survives kill -9, and what a power loss takes is loaded again from usage.
 */
export function createLmdbQuotaStore(db: Database<string, string>, now: () => number): QuotaStore {
  const sweep = setInterval(() => sweepUp(db, now()), SWEEP_EVERY_MS)
  sweep.unref()
  const usedOf = (counter: CounterKey, nowMs: number): bigint | undefined => {
    const [micro, usedAtMs] = (db.get(counterKey(counter)) ?? '').split(' ')
    return micro && Number(usedAtMs) + COUNTER_TTL_MS > nowMs ? BigInt(micro) : undefined
  }
  const put = (counter: CounterKey, micro: bigint, nowMs: number) =>
    db.putSync(counterKey(counter), `${micro} ${nowMs}`)

  return {
    draw: gatherDraws(
      async (items, nowMs, enforce) =>
        changed(db, () => {
          const used = new Map<string, { counter: CounterKey; micro: bigint }>()
          const missing = new Map<string, CounterKey>()
          for (const { counter } of items.flatMap((item) => item.draws)) {
            const micro = usedOf(counter, nowMs)
            if (micro === undefined) missing.set(counterId(counter), counter)
            else used.set(counterId(counter), { counter, micro })
          }
          if (missing.size > 0) return { missing: [...missing.values()] }
          const decisions = items.map((item) => {
            const seen = Number(db.get(seenKey(item.identity)) ?? 0) > nowMs
            const decision = decide(item, (counter) => used.get(counterId(counter))?.micro ?? 0n, seen, enforce)
            if (decision.drawn) {
              for (const draw of item.draws) add(used, draw.counter, draw.micro)
              db.putSync(seenKey(item.identity), String(nowMs + SEEN_MS))
            }
            return decision
          })
          for (const { counter, micro } of used.values()) put(counter, micro, nowMs)
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
            if (used !== undefined) put(counter, used - micro, now())
          }
        }
      }),
    load: async (counter, usedMicro, nowMs) =>
      changed(db, () => {
        if (usedOf(counter, nowMs) === undefined) put(counter, usedMicro, nowMs)
      }),
    ping: async () => undefined,
    close: async () => clearInterval(sweep),
  }
}

function add(used: Map<string, { counter: CounterKey; micro: bigint }>, counter: CounterKey, micro: bigint): void {
  const id = counterId(counter)
  used.set(id, { counter, micro: (used.get(id)?.micro ?? 0n) + micro })
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
function sweepUp(db: Database<string, string>, nowMs: number): void {
  try {
    removeExpired(db, nowMs)
  } catch {
    // Expired entries count nothing meanwhile: they are read with their time.
  }
}

function removeExpired(db: Database<string, string>, nowMs: number): void {
  db.transactionSync(() => {
    for (const { key, value } of db.getRange({ start: 'seen\n', end: 'seen\u000b' })) {
      if (Number(value) <= nowMs) db.removeSync(key)
    }
    for (const { key, value } of db.getRange({ start: 'used\n', end: 'used\u000b' })) {
      if (Number(value.split(' ')[1]) + COUNTER_TTL_MS <= nowMs) db.removeSync(key)
    }
  })
}
