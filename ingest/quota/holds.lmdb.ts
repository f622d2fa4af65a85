import type { Database } from 'lmdb'
import type { TenantId } from '../../schemas/http/door.ts'
import { HOLD_GRACE_MS, HOLD_REMEMBERED_MS, type Hold, type HoldRequest, MOST_RETURNS, MOST_SWEPT } from './holds.ts'
import { lesser } from './lesser.ts'
import { type CounterKey, counterId, type QuotaDraw } from './quota-store.ts'
import { inEvery } from './rolling.ts'

type Db = Database<string, string>
/** What holds need of the counters; within the same transaction. */
export type Counters = {
  used(counter: CounterKey, nowMs: number): bigint | undefined
  put(counter: CounterKey, micro: bigint, nowMs: number): void
}

/** Numbers are texts in micro-units. `left` is gone when the hold has ended; `endsAtMs` is then when it did. */
type Stored = {
  subject: string
  meter: string
  asked: string
  granted: string
  expiresAtMs: number
  used: string[]
  endsAtMs: number
  left?: { counter: CounterKey; micro: string }[]
  /** What was freed by which amount that was returned. */
  returned: Record<string, string>
}

/** Holds one by one, as they are stored. */
type Records = ReturnType<typeof holdRecords>

function holdRecords(db: Db, counters: Counters) {
  const find = (tenant: TenantId, id: string): Stored | undefined => {
    const text = db.get(holdKey(tenant, id))
    return text === undefined ? undefined : (JSON.parse(text) as Stored)
  }
  const store = (tenant: TenantId, id: string, stored: Stored) =>
    void db.putSync(holdKey(tenant, id), JSON.stringify(stored))
  const held = (counter: CounterKey): bigint => BigInt(db.get(heldKey(counter)) ?? 0)
  const putHeld = (counter: CounterKey, micro: bigint) => {
    if (micro > 0n) db.putSync(heldKey(counter), String(micro))
    else db.removeSync(heldKey(counter))
  }
  const giveBack = (counter: CounterKey, micro: bigint, nowMs: number) => {
    const used = counters.used(counter, nowMs)
    if (used !== undefined) counters.put(counter, used > micro ? used - micro : 0n, nowMs)
    putHeld(counter, held(counter) - micro)
  }
  const living = (tenant: TenantId): number => Number(db.get(livingKey(tenant)) ?? 0)
  /** Puts a hold among those that live. */
  const begin = (tenant: TenantId, id: string, endsAtMs: number) => {
    db.putSync(endsKey(endsAtMs, tenant, id), '')
    db.putSync(livingKey(tenant), String(living(tenant) + 1))
  }
  /** Ends a hold that lives; answers the most that it had left on a counter. */
  const end = (tenant: TenantId, id: string, { left = [], ...stored }: Stored, nowMs: number): bigint => {
    for (const { counter, micro } of left) giveBack(counter, BigInt(micro), nowMs)
    db.removeSync(endsKey(stored.endsAtMs, tenant, id))
    if (living(tenant) > 1) db.putSync(livingKey(tenant), String(living(tenant) - 1))
    else db.removeSync(livingKey(tenant))
    store(tenant, id, { ...stored, endsAtMs: nowMs })
    return mostOf(left)
  }
  return { find, store, held, putHeld, giveBack, living, begin, end }
}

/** What changes one hold. */
function changesOf(counters: Counters, { find, store, held, putHeld, giveBack, begin, end }: Records) {
  return {
    /** Holds what is granted, which was checked before; `usedMicro` is what stood against the limits then. */
    grant: (
      { id, tenant, ...request }: HoldRequest,
      grantedMicro: bigint,
      usedMicro: readonly bigint[],
      nowMs: number,
    ): Hold => {
      for (const { counter } of request.limits) {
        counters.put(counter, (counters.used(counter, nowMs) ?? 0n) + grantedMicro, nowMs)
        putHeld(counter, held(counter) + grantedMicro)
      }
      const used = usedMicro.map((micro) => String(micro + grantedMicro))
      const expiresAtMs = nowMs + request.lastsMs
      const endsAtMs = expiresAtMs + HOLD_GRACE_MS
      const { subject, meter } = request
      const stored: Stored = {
        ...{ subject, meter, expiresAtMs, used, endsAtMs, returned: {} },
        ...{ asked: String(request.askedMicro), granted: String(grantedMicro) },
        left: request.limits.map(({ counter }) => ({ counter, micro: String(grantedMicro) })),
      }
      store(tenant, id, stored)
      begin(tenant, id, endsAtMs)
      return holdOf(stored)
    },
    /**
     * Takes of each draw what the hold has left on its counter, or of a rolling limit on another bucket that lies in every
     * window of the draw: what moves from there grows none of them. Answers how much, and where.
     */
    take: (id: string, draws: readonly QuotaDraw[]): { counter: CounterKey; micro: bigint }[] => {
      const tenant = draws[0]?.counter.tenant ?? 0
      const stored = find(tenant, id)
      if (!stored?.left) return []
      const taken = draws.map((draw) => {
        const { counter, micro } = draw
        const leftOn = (one: CounterKey) => stored.left?.find((left) => counterId(left.counter) === counterId(one))
        const left = leftOn(counter) ?? (draw.windows && inEvery(draw.windows).map(leftOn).find(Boolean))
        if (!left) return { counter, micro: 0n }
        const some = lesser(micro, BigInt(left.micro))
        left.micro = String(BigInt(left.micro) - some)
        putHeld(left.counter, held(left.counter) - some)
        return { counter: left.counter, micro: some }
      })
      store(tenant, id, stored)
      return taken
    },
    release: (tenant: TenantId, id: string, nowMs: number): bigint => {
      const stored = find(tenant, id)
      return stored?.left ? end(tenant, id, stored, nowMs) : 0n
    },
    returnUnused: (tenant: TenantId, id: string, mostMicro: bigint, nowMs: number): bigint => {
      const stored = find(tenant, id)
      if (!stored?.left) return 0n
      const before = stored.returned[String(mostMicro)]
      if (before !== undefined) return BigInt(before)
      const freed = stored.left.map((one) => ({ ...one, micro: String(lesser(BigInt(one.micro), mostMicro)) }))
      // The repeat of a return that freed nothing frees nothing either: it need not be remembered.
      if (mostOf(freed) === 0n || Object.keys(stored.returned).length >= MOST_RETURNS) return 0n
      for (const { counter, micro } of freed) giveBack(counter, BigInt(micro), nowMs)
      const left = stored.left.map((one, place) => {
        return { ...one, micro: String(BigInt(one.micro) - BigInt(freed[place]?.micro ?? 0)) }
      })
      const returned = { ...stored.returned, [String(mostMicro)]: String(mostOf(freed)) }
      store(tenant, id, { ...stored, left, returned })
      return mostOf(freed)
    },
  }
}

/**
 * Holds beside the counters in LMDB: `hold\n<tenant>\n<id>` → JSON, `ends\n<time>\n<tenant>\n<id>` for those that live,
 * `living\n<tenant>` → how many those are, and `held\n<counter>` → the sum of what they have left, for when the counter
 * is loaded anew. Every function here is called within a transaction of the quota store.
 */
export type LmdbHolds = ReturnType<typeof createLmdbHolds>

export function createLmdbHolds(db: Db, counters: Counters) {
  const records = holdRecords(db, counters)
  const { find, held, living, end } = records
  return {
    ...changesOf(counters, records),
    held,
    living,
    find: (tenant: TenantId, id: string): Hold | undefined => {
      const stored = find(tenant, id)
      return stored && holdOf(stored)
    },
    /** Ends some of those whose time is over, the longest over first; answers how many. */
    sweep: (nowMs: number): number => {
      const over = [...db.getKeys({ start: endsKey(0), end: endsKey(nowMs + 1), limit: MOST_SWEPT })]
      for (const key of over) {
        const [, , tenant = '', id = ''] = key.split('\n')
        const stored = find(Number(tenant), id)
        if (stored?.left) end(Number(tenant), id, stored, nowMs)
        else db.removeSync(key)
      }
      return over.length
    },
    /** Forgets those that ended a while ago. */
    forget: (nowMs: number): void => {
      for (const { key, value } of db.getRange({ start: 'hold\n', end: 'hold\u000b' })) {
        const { left, endsAtMs } = JSON.parse(value) as Stored
        if (!left && endsAtMs + HOLD_REMEMBERED_MS <= nowMs) db.removeSync(key)
      }
    },
  }
}

const holdKey = (tenant: TenantId, id: string) => `hold\n${tenant}\n${id}`
const livingKey = (tenant: TenantId) => `living\n${tenant}`
const heldKey = (counter: CounterKey) => `held\n${counterId(counter)}`
/** In the order of time. */
const endsKey = (atMs: number, tenant?: TenantId, id?: string) =>
  `ends\n${String(atMs).padStart(16, '0')}${id === undefined ? '' : `\n${tenant}\n${id}`}`

function holdOf({ subject, meter, asked, granted, expiresAtMs, used }: Stored): Hold {
  const [askedMicro, grantedMicro] = [BigInt(asked), BigInt(granted)]
  return { subject, meter, askedMicro, grantedMicro, expiresAtMs, usedMicro: used.map(BigInt) }
}

function mostOf(parts: readonly { micro: string }[]): bigint {
  return parts.reduce((most, { micro }) => (BigInt(micro) > most ? BigInt(micro) : most), 0n)
}
