import type { TenantId } from '../../schemas/http/door.ts'
import type { CounterAdmin } from './counter-admin.ts'
import type { HoldStore } from './holds.ts'
import { lesser } from './lesser.ts'
import { bucketsOf, fullestOf, type Windows } from './rolling.ts'

/**
 * One counter: what a subject used of a meter in one window. With `ofCustomer` the subject is the id of a customer, whose
 * subjects share the counter. With `rolling` it is a bucket of rolling limits: they are judged by the sums of several.
 */
export type CounterKey = {
  tenant: TenantId
  subject: string
  meter: string
  startMs: number
  endMs: number
  ofCustomer?: true
  rolling?: true
}
/**
 * What a store remembers of a tenant, told from what it remembered before it lost everything: `since` is a name for it.
 * `forMs`: how long other ingest processes have had, since that was noticed, to bring into the log what they drew before.
 */
export type Memory = { since: string; forMs: number }
/** What was used of a counter, as exact usage says. */
export type CounterUse = { counter: CounterKey; usedMicro: bigint }
/** In place of a limit that refuses: nothing passes it. */
export const NO_LIMIT_MICRO = 10n ** 40n
/**
 * At most one for a counter. Beyond `limitMicro` the item is refused; beyond `softMicro`, if there is one, it is taken all
 * the same, and is `over`. With `windows` the limits are compared with what the fullest of these has, and not with the
 * counter alone, which stands in each of them.
 */
export type QuotaDraw = {
  counter: CounterKey
  micro: bigint
  limitMicro: bigint
  softMicro?: bigint | undefined
  windows?: Windows | undefined
}

/**
 * One event's draws: all or none of them is taken. `identity` is drawn for once, however often it is sent. One with a
 * `hold` was admitted by it: it draws from there first, and is never refused (holds.ts).
 */
export type QuotaItem = { identity: string; draws: readonly QuotaDraw[]; hold?: string | undefined }

/**
 * `taken`: the item may go on; `drawn`: this call took its draws, and not an earlier one for the same identity; `over`:
 * it was taken although it does not fit; `remainingMicro` of `limitMicro` belongs to the draw whose limit has the
 * smallest share left, after this item.
 */
export type QuotaDecision = {
  taken: boolean
  drawn: boolean
  over: boolean
  remainingMicro: bigint
  limitMicro: bigint
}

export type QuotaStore = HoldStore &
  CounterAdmin & {
    /**
     * Decides all items in order, in one round trip. With `enforce` false everything is taken, below zero too. Counters
     * that are not loaded are named instead, and nothing is taken.
     */
    draw(
      items: readonly QuotaItem[],
      nowMs: number,
      enforce: boolean,
    ): Promise<{ missing: CounterKey[] } | { decisions: QuotaDecision[] }>
    /**
     * Undoes the draws of items that were drawn and whose append failed. A store that is away makes it no error, because
     * the other events of the request were taken: the draws then stay until their counter is loaded anew, and the limit
     * refuses so much too early, never too late. Sent again within minutes, the same event draws nothing. What was drawn
     * from a hold goes back to the counter.
     */
    giveBack(items: readonly QuotaItem[]): Promise<void>
    /**
     * Sets those of some counters of one tenant that are missing, to what is used and held; those that exist stay. It is one
     * step of the store, in which nobody else is served: a thousand at a time. With `since`, nothing is set once the store
     * has lost what it remembered then.
     */
    load(uses: readonly CounterUse[], nowMs: number, since?: string): Promise<void>
    /** What it remembers of a tenant; from now on, if that is nothing. */
    memory(tenant: TenantId): Promise<Memory>
    /** Fails while the store does not answer. */
    ping(): Promise<void>
    close(): Promise<void>
  }

export function counterId(key: CounterKey): string {
  return `${key.tenant}\n${meterOf(key)}\n${key.startMs}\n${key.endMs}\n${key.subject}`
}

/**
 * The meter as names of counters have it: no slug has an @, so that customers are told from subjects of the same name, and
 * buckets from windows that happen to have their times.
 */
export function meterOf({ meter, ofCustomer, rolling }: CounterKey): string {
  if (rolling) return ofCustomer ? `${meter}@customer@rolling` : `${meter}@rolling`
  return ofCustomer ? `${meter}@customer` : meter
}

/** What stands against the limits of a draw. */
export function usedAgainst(
  { counter, windows }: Pick<QuotaDraw, 'counter' | 'windows'>,
  used: (counter: CounterKey) => bigint,
): bigint {
  return windows ? fullestOf(windows, used) : used(counter)
}

/** The counters that a draw is decided by, each once. */
export function countersOf({ counter, windows }: Pick<QuotaDraw, 'counter' | 'windows'>): readonly CounterKey[] {
  return windows ? bucketsOf(windows) : [counter]
}

/**
 * Decides one item: the rule itself, shared by all stores. `used` is asked what stands against each draw, and its place.
 * `fromHold`, for items with a hold, is what each draw takes from there: it was counted when it was granted and needs no
 * room, only the rest does. Such an item is never refused, because the work was admitted; beyond a limit it is `over`.
 */
export function decide(
  { draws }: Pick<QuotaItem, 'draws'>,
  used: (draw: QuotaDraw, place: number) => bigint,
  alreadyDrawn: boolean,
  enforce: boolean,
  fromHold?: readonly bigint[],
): QuotaDecision {
  let place = 0
  let fits = true
  let fitsSoft = true
  for (const draw of draws) {
    const { micro, limitMicro, softMicro = limitMicro } = draw
    const rest = fromHold ? micro - (fromHold[place] ?? 0n) : micro
    const after = used(draw, place++) + rest
    // What a hold covers needs no room.
    if (fromHold && rest === 0n) continue
    if (after > limitMicro) fits = false
    if (after > softMicro) fitsSoft = false
  }
  const taken = alreadyDrawn || fits || !enforce || fromHold !== undefined
  const drawn = taken && !alreadyDrawn
  let least: { micro: bigint; limit: bigint } | undefined
  place = 0
  for (const draw of draws) {
    const { micro, limitMicro, softMicro = limitMicro } = draw
    const rest = fromHold ? micro - (fromHold[place] ?? 0n) : micro
    const limit = lesser(softMicro, limitMicro)
    const left = limit - used(draw, place++) - (drawn ? rest : 0n)
    if (!least || isSmallerShare(left, limit, least.micro, least.limit)) least = { micro: left, limit }
  }
  const remainingMicro = least && least.micro > 0n ? least.micro : 0n
  return { taken, drawn, over: drawn && !(fits && fitsSoft), remainingMicro, limitMicro: least?.limit ?? 0n }
}

/**
 * Whether what is left of one limit is a smaller share than of another. Without division: a/b < c/d iff a·d < c·b for
 * positive limits. Of a limit of 0 nothing is ever left, and as share of any positive limit that is 0.
 */
export function isSmallerShare(left: bigint, limit: bigint, otherLeft: bigint, otherLimit: bigint): boolean {
  return left * (otherLimit || 1n) < otherLeft * (limit || 1n)
}
