import { MOST_AHEAD_MS } from '../accept/cloud-event.ts'
import type { CounterKey } from './quota-store.ts'

const [HOUR_MS, DAY_MS] = [3_600_000, 86_400_000]

export const ROLLING = ['rolling_hour', 'rolling_day', 'rolling_30_days'] as const
export type RollingName = (typeof ROLLING)[number]
/** How long their windows are. */
export const ROLLING_MS: Readonly<Record<RollingName, number>> = {
  rolling_hour: HOUR_MS,
  rolling_day: DAY_MS,
  rolling_30_days: 30 * DAY_MS,
}
/**
 * Windows of a rolling limit, each as the counters of its buckets. A window is a bucket and the 12 before it: whatever
 * lies within the length of the limit lies in one of them.
 */
export type Windows = readonly (readonly CounterKey[])[]

const BUCKETS = 12
/** No event lies further ahead, also of a process whose clock is fast; and what begins then is known before it does. */
const READ_AHEAD_MS = 2 * MOST_AHEAD_MS

export function isRolling(window: string): window is RollingName {
  return Object.hasOwn(ROLLING_MS, window)
}

/** The bucket of a rolling limit that a time lies in, counted from 1970. */
export function bucketOf(timeMs: number, window: RollingName): { startMs: number; endMs: number } {
  const widthMs = ROLLING_MS[window] / BUCKETS
  const startMs = Math.floor(timeMs / widthMs) * widthMs
  return { startMs, endMs: startMs + widthMs }
}

/** Whoever asks again asks with the same counter mostly, and within the same bucket. */
const known = new WeakMap<CounterKey, { lastMs: number; windows: Windows }>()

/**
 * The windows that hold a bucket, as far as events can lie in them by now: what is used in each of them stands against
 * something more in this bucket. For one that holds the present they are one to three, for a late event's up to 13.
 */
export function windowsOf(bucket: CounterKey, nowMs: number): Windows {
  const { startMs, endMs } = bucket
  const widthMs = endMs - startMs
  const readMs = Math.floor((nowMs + READ_AHEAD_MS) / widthMs) * widthMs
  const lastMs = Math.max(startMs, Math.min(readMs, startMs + BUCKETS * widthMs))
  const before = known.get(bucket)
  if (before?.lastMs === lastMs) return before.windows
  const bucketAt = (atMs: number) => (atMs === startMs ? bucket : { ...bucket, startMs: atMs, endMs: atMs + widthMs })
  const after = (lastMs - startMs) / widthMs
  const all = Array.from({ length: BUCKETS + after + 1 }, (_, n) => bucketAt(startMs + (n - BUCKETS) * widthMs))
  const windows = Array.from({ length: after + 1 }, (_, first) => all.slice(first, first + BUCKETS + 1))
  known.set(bucket, { lastMs, windows })
  return windows
}

/** Each counter of the windows of a bucket once: every window begins a bucket later than the one before. */
export function bucketsOf([first = [], ...others]: Windows): CounterKey[] {
  return [...first, ...others.flatMap((window) => window.slice(-1))]
}

/** The buckets that lie in every one of the windows of a bucket: the last of them is that bucket. */
export function inEvery(windows: Windows): readonly CounterKey[] {
  return windows[0]?.slice(windows.length - 1) ?? []
}

/** What the fullest of some windows has. */
export function fullestOf<Bucket>(windows: readonly (readonly Bucket[])[], used: (bucket: Bucket) => bigint): bigint {
  let most = 0n
  for (const window of windows) {
    let sum = 0n
    for (const bucket of window) sum += used(bucket)
    if (sum > most) most = sum
  }
  return most
}

/** From when to when a counter's limit counts: a rolling one goes on a bucket with the end of the latest. */
export function looksBack({ startMs, endMs, rolling }: CounterKey): { startMs: number; endMs: number } {
  return { startMs: rolling ? startMs - BUCKETS * (endMs - startMs) : startMs, endMs }
}

/** When what lies in a bucket's window leaves it next: of a bucket that has ended with the end of the present one. */
export function nextTurnMs({ startMs, endMs }: CounterKey, nowMs: number): number {
  const widthMs = endMs - startMs
  return Math.max(endMs, (Math.floor(nowMs / widthMs) + 1) * widthMs)
}

/** The time within which a level of a counter's limit is told once: of a rolling one as long as its window, from 1970. */
export function toldWithin({ startMs, endMs, rolling }: CounterKey): { startMs: number; endMs: number } {
  if (!rolling) return { startMs, endMs }
  const lengthMs = BUCKETS * (endMs - startMs)
  const fromMs = Math.floor(startMs / lengthMs) * lengthMs
  return { startMs: fromMs, endMs: fromMs + lengthMs }
}

/** No event can lie in it yet. */
export function isAhead({ startMs }: CounterKey, nowMs: number): boolean {
  return startMs > nowMs + MOST_AHEAD_MS
}
