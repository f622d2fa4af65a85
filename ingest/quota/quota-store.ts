import type { TenantId } from '../../schemas/http/door.ts'

/** One counter: what a subject used of a meter in one window. */
export type CounterKey = { tenant: TenantId; subject: string; meter: string; startMs: number; endMs: number }
export type QuotaDraw = { counter: CounterKey; micro: bigint; limitMicro: bigint }

/** One event's draws: all or none of them is taken. `identity` is drawn for once, however often it is sent. */
export type QuotaItem = { identity: string; draws: readonly QuotaDraw[] }

/**
 * `taken`: the item may go on; `drawn`: this call took its draws, and not an earlier one for the same identity; `over`:
 * it was taken although it does not fit; `remainingMicro` belongs to the draw whose limit has the smallest share left,
 * after this item.
 */
export type QuotaDecision = { taken: boolean; drawn: boolean; over: boolean; remainingMicro: bigint }

export type QuotaStore = {
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
   * refuses so much too early, never too late. Sent again within minutes, the same event draws nothing.
   */
  giveBack(items: readonly QuotaItem[]): Promise<void>
  /** Sets a counter that is missing; one that exists stays. */
  load(counter: CounterKey, usedMicro: bigint, nowMs: number): Promise<void>
  /** Fails while the store does not answer. */
  ping(): Promise<void>
  close(): Promise<void>
}

export function counterId(key: CounterKey): string {
  return `${key.tenant}\n${key.meter}\n${key.startMs}\n${key.endMs}\n${key.subject}`
}

/** Decides one item: the rule itself, shared by all stores. `used` is asked for each draw's counter, and its place. */
export function decide(
  { draws }: QuotaItem,
  used: (counter: CounterKey, draw: number) => bigint,
  alreadyDrawn: boolean,
  enforce: boolean,
): QuotaDecision {
  let place = 0
  let fits = true
  for (const { counter, micro, limitMicro } of draws) {
    if (used(counter, place++) + micro > limitMicro) fits = false
  }
  const taken = alreadyDrawn || fits || !enforce
  const drawn = taken && !alreadyDrawn
  let least: { micro: bigint; limit: bigint } | undefined
  place = 0
  for (const { counter, micro, limitMicro } of draws) {
    const left = limitMicro - used(counter, place++) - (drawn ? micro : 0n)
    // Of a limit of 0 nothing is ever left: as share of any positive limit that is 0.
    const limit = limitMicro || 1n
    // The smallest share left, compared without division: a/b < c/d iff a·d < c·b for positive limits.
    if (!least || left * least.limit < least.micro * limit) least = { micro: left, limit }
  }
  const remainingMicro = least && least.micro > 0n ? least.micro : 0n
  return { taken, drawn, over: drawn && !fits, remainingMicro }
}
