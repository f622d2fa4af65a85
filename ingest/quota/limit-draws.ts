import type { TenantId } from '../../schemas/http/door.ts'
import { lesser } from './lesser.ts'
import { counterAt, type QuotaLimit } from './limit.ts'
import { type CounterKey, NO_LIMIT_MICRO, type QuotaDraw } from './quota-store.ts'
import { type Windows, windowsOf } from './rolling.ts'

/** A draw, the least limit that it is for, and the others on the same counter. */
export type LimitDraw = QuotaDraw & { limit: QuotaLimit; others: readonly QuotaLimit[] }
/** A limit with the counter that it has at some time, and the windows of a rolling one. */
export type LimitNow = { counter: CounterKey; limit: QuotaLimit; windows?: Windows | undefined }

const NO_OTHERS: readonly QuotaLimit[] = []

/** A limit as it stands now for something that happened at a time. */
export function limitAt(tenant: TenantId, limit: QuotaLimit, timeMs: number, nowMs: number): LimitNow {
  const counter = counterAt(tenant, limit, timeMs)
  return { counter, limit, windows: counter.rolling && windowsOf(counter, nowMs) }
}

/**
 * Adds a limit to draws of so much. Limits whose windows coincide, as those of a month and of a billing period may, are on
 * one counter: it is drawn on once, for the least limit that refuses and the least that does not. So are rolling limits of
 * one length; the bucket of one is never the counter of another window, whatever its times are.
 */
export function addLimit(draws: LimitDraw[], { counter, limit, windows }: LimitNow, micro: bigint): void {
  const { limitMicro, soft } = limit
  for (let place = 0; place < draws.length; place++) {
    const draw = draws[place]
    if (!draw || !isSame(draw.counter, counter)) continue
    const isLeast = limitMicro < draw.limit.limitMicro
    draws[place] = {
      ...draw,
      ...(soft
        ? { softMicro: lesser(limitMicro, draw.softMicro ?? limitMicro) }
        : { limitMicro: lesser(limitMicro, draw.limitMicro) }),
      limit: isLeast ? limit : draw.limit,
      others: [...draw.others, isLeast ? draw.limit : limit],
    }
    return
  }
  const others = NO_OTHERS
  if (soft) draws.push({ counter, micro, limitMicro: NO_LIMIT_MICRO, softMicro: limitMicro, limit, others, windows })
  else draws.push({ counter, micro, limitMicro, softMicro: undefined, limit, others, windows })
}

/** As draws of so much, one a counter. */
export function drawsFor(limits: readonly LimitNow[], micro: bigint): LimitDraw[] {
  const draws: LimitDraw[] = []
  for (const one of limits) addLimit(draws, one, micro)
  return draws
}

function isSame(one: CounterKey, other: CounterKey): boolean {
  return (
    one === other ||
    (one.meter === other.meter &&
      one.startMs === other.startMs &&
      one.endMs === other.endMs &&
      one.subject === other.subject &&
      one.ofCustomer === other.ofCustomer &&
      one.rolling === other.rolling)
  )
}
