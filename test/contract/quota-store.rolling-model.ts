import { bucketOf } from '../../ingest/quota/rolling.ts'

const [MINUTE_MS, HOUR_MS] = [60_000, 3_600_000]
const WIDTH_MS = 5 * MINUTE_MS
const LIMIT = 100n

type Counted = { timeMs: number; micro: bigint }
type Asked = Counted & { held: boolean }

/** The rule of an hour's limit of 100, by a plain list of what was counted, and one hold (ops/decisions/0026). */
export function modelOf(now: () => number) {
  const all: (Counted & { over: boolean })[] = []
  let held: Counted = { timeMs: 0, micro: 0n }
  const sumOf = (some: readonly Counted[], fromMs: number, toMs: number) =>
    some.reduce((sum, { timeMs, micro }) => (timeMs >= fromMs && timeMs < toMs ? sum + micro : sum), 0n)
  const startOf = (timeMs: number) => bucketOf(timeMs, 'rolling_hour').startMs
  /** Thirteen buckets, wherever they begin, in which that of a time is. */
  const hasRoom = (timeMs: number, micro: bigint) =>
    Array.from({ length: 13 }, (_, n) => startOf(timeMs) + (n - 12) * WIDTH_MS).every(
      (fromMs) => sumOf([...all, held], fromMs, fromMs + 13 * WIDTH_MS) + micro <= LIMIT,
    )
  /** The hold lies in every window that is asked for an event: no later than it, and in the latest of them. */
  const covers = (timeMs: number) => {
    const last = Math.min(startOf(now() + 10 * MINUTE_MS), startOf(timeMs) + HOUR_MS)
    return startOf(held.timeMs) <= startOf(timeMs) && startOf(held.timeMs) >= last - HOUR_MS
  }
  return {
    counted: (fromMs: number, toMs: number) => sumOf(all, fromMs, toMs),
    reserve: (micro: bigint): boolean => {
      const fits = hasRoom(now(), micro)
      if (fits) held = { timeMs: now(), micro }
      return fits
    },
    release: (): bigint => {
      const { micro } = held
      held = { timeMs: 0, micro: 0n }
      return micro
    },
    draw: ({ timeMs, micro, held: isHeld }: Asked) => {
      const most = isHeld && covers(timeMs) ? held.micro : 0n
      const some = micro < most ? micro : most
      const over = isHeld && micro > some && !hasRoom(timeMs, micro - some)
      const taken = isHeld || hasRoom(timeMs, micro)
      if (taken) {
        held = { ...held, micro: held.micro - some }
        all.push({ timeMs, micro, over })
      }
      return { taken, over }
    },
    /** What hours hold that begin with an event, but for what was flagged. */
    hours: (): [fromMs: number, sum: bigint][] =>
      all.map(({ timeMs }) => {
        const admitted = all.filter(({ over }) => !over)
        return [timeMs, sumOf(admitted, timeMs, timeMs + HOUR_MS)]
      }),
  }
}
