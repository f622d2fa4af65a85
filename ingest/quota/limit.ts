import type { TenantId } from '../../schemas/http/door.ts'
import { parseQuantity, type Quantity } from '../../schemas/quantity.ts'
import { livesMs } from './counter-life.ts'
import type { CounterKey } from './quota-store.ts'
import { bucketOf, isRolling, ROLLING, type RollingName } from './rolling.ts'

const CALENDAR = ['hour', 'day', 'month'] as const
export const WINDOWS = [...CALENDAR, 'billing_period', ...ROLLING] as const
export type WindowName = (typeof WINDOWS)[number]
/** Half-open. */
export type WindowTimes = { startMs: number; endMs: number }

/** A level of use at which to tell. */
export type Threshold = { percent: number } | { micro: bigint }

/** A limit that holds for a subject, on a meter per window. Counters are integers of 10⁻⁶ of the meter's unit. */
export type QuotaLimit = {
  /** The entitlement that says so, and whose it is. */
  feature: string
  grantedBy: 'subject' | 'customer' | 'plan'
  subject: string
  meter: string
  limitMicro: bigint
  window: WindowName
  /** The times of its counter, which of a rolling limit is that of a bucket. */
  windowAt(timeMs: number): WindowTimes
  /** Whose use adds up: the subject's, or with `ofCustomer` that of all subjects of the customer with this id. */
  holder: string
  ofCustomer?: true
  /** Beyond it events are taken and flagged. */
  soft?: true
  /** What becomes of events while the counters cannot be asked. */
  whenAway: 'closed' | 'open'
  thresholds: readonly Threshold[]
}

const MICRO = parseQuantity('1000000')

/** A drawn quantity, a number if it is whole, in micro-units, rounded up: never too little is drawn. */
export function toMicro(quantity: Quantity | number): bigint {
  if (typeof quantity === 'number') return BigInt(quantity) * 1_000_000n
  return BigInt(quantity.times(MICRO).ceil().toFixed(0))
}

/** A limit in micro-units, rounded down: never too much is allowed. */
export function toMicroFloor(quantity: Quantity): bigint {
  return BigInt(quantity.times(MICRO).floor().toFixed(0))
}

/** Micro-units, not negative, as a decimal string of whole units: 1500000n is "1.5". */
export function formatMicro(micro: bigint): string {
  const whole = micro / 1_000_000n
  const rest = micro % 1_000_000n
  if (rest === 0n) return String(whole)
  return `${whole}.${String(rest).padStart(6, '0').replace(/0+$/, '')}`
}

const HOUR_MS = 3_600_000

/** The window of UTC's calendar that a time lies in, or the bucket of a rolling one. */
export function windowOf(timeMs: number, window: (typeof CALENDAR)[number] | RollingName): WindowTimes {
  if (isRolling(window)) return bucketOf(timeMs, window)
  if (window === 'hour') {
    const startMs = Math.floor(timeMs / HOUR_MS) * HOUR_MS
    return { startMs, endMs: startMs + HOUR_MS }
  }
  const at = new Date(timeMs)
  const [year, month, day] = [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()]
  return window === 'day'
    ? { startMs: Date.UTC(year, month, day), endMs: Date.UTC(year, month, day + 1) }
    : { startMs: Date.UTC(year, month, 1), endMs: Date.UTC(year, month + 1, 1) }
}

/** The latest counter of each limit: most times lie in one window, and whoever asks again asks with the same object. */
const latestCounters = new WeakMap<QuotaLimit, CounterKey>()
/** Of rolling limits, where late events and others come in turn: counters by their start. */
const latestBuckets = new WeakMap<QuotaLimit, Map<number, CounterKey>>()
const MOST_BUCKETS = 32

/** The counter that a limit has at a time: the same object while the times lie in one window. */
export function counterAt(tenant: TenantId, limit: QuotaLimit, timeMs: number): CounterKey {
  const known = latestCounters.get(limit)
  if (known && known.startMs <= timeMs && timeMs < known.endMs && known.tenant === tenant) return known
  const times = limit.windowAt(timeMs)
  const counter = isRolling(limit.window) ? bucketCounter(tenant, limit, times) : counterWithin(tenant, limit, times)
  latestCounters.set(limit, counter)
  return counter
}

function counterWithin(tenant: TenantId, { holder, meter, ofCustomer }: QuotaLimit, times: WindowTimes): CounterKey {
  const key = { tenant, subject: holder, meter, ...times }
  return ofCustomer ? { ...key, ofCustomer } : key
}

function bucketCounter(tenant: TenantId, limit: QuotaLimit, times: WindowTimes): CounterKey {
  const buckets = latestBuckets.get(limit) ?? new Map<number, CounterKey>()
  latestBuckets.set(limit, buckets)
  const known = buckets.get(times.startMs)
  if (known?.tenant === tenant) return known
  if (buckets.size >= MOST_BUCKETS) buckets.clear()
  const counter = { ...counterWithin(tenant, limit, times), rolling: true as const }
  // A counter keeps its windows with it: those that nobody asks for any more are let go.
  for (const { startMs } of buckets.values()) if (startMs + livesMs(counter) <= times.startMs) buckets.delete(startMs)
  buckets.set(times.startMs, counter)
  return counter
}
