import type { TenantId } from '../../schemas/http/door.ts'
import type { CounterKey } from './quota-store.ts'

/** A counter as it stands. Without a number it is damaged, and every draw on it fails. */
export type LivingCounter = {
  counter: CounterKey
  /** What is used or held. */
  usedMicro: bigint | undefined
  /** What living holds have left of it. */
  heldMicro: bigint
}

/** What it takes to compare counters with usage (decision 0022). No request waits for any of it. */
export type CounterAdmin = {
  /**
   * The counters that live, of one tenant or of all, page by page. One that lives all the while comes at least once; it
   * may come again.
   */
  livingCounters(nowMs: number, tenant?: TenantId): AsyncIterable<LivingCounter[]>
  /** How these stand, without those that are gone. */
  lookAt(counters: readonly CounterKey[], nowMs: number): Promise<LivingCounter[]>
  /**
   * Sets a counter that still is what it was when it was compared; `undefined`: it held no number. Answers whether it
   * did: a draw in between is never lost.
   */
  correct(counter: CounterKey, fromMicro: bigint | undefined, toMicro: bigint, nowMs: number): Promise<boolean>
}

/** No store is held up longer than by a large request. */
export const COUNTERS_A_PAGE = 500

const OF_CUSTOMER = '@customer'
const ROLLING = '@rolling'

/** The counter of which these are the parts of its name: `meterOf` in quota-store.ts, backwards. */
export function counterNamed(
  tenant: string,
  startMs: string,
  endMs: string,
  meter: string,
  subject: string,
): CounterKey {
  const window = { startMs: Number(startMs), endMs: Number(endMs) }
  const isRolling = meter.endsWith(ROLLING)
  const rest = isRolling ? meter.slice(0, -ROLLING.length) : meter
  const isOfCustomer = rest.endsWith(OF_CUSTOMER)
  return {
    ...{ tenant: Number(tenant), subject, ...window },
    meter: isOfCustomer ? rest.slice(0, -OF_CUSTOMER.length) : rest,
    ...(isOfCustomer ? { ofCustomer: true } : {}),
    ...(isRolling ? { rolling: true } : {}),
  }
}
