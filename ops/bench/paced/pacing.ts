/** Real or, in tests, made up. */
export type Clock = { now(): number; sleep(ms: number): Promise<unknown> }

export type Pace = { perSecond: number; count: number; atATime: number }

/** When the work of a place is due, in ms from the beginning. */
export function dueAtMs(place: number, perSecond: number): number {
  return (place * 1_000) / perSecond
}

/**
 * Does `count` pieces of work, each when it is due and never earlier, so many at a time at most. What could not begin
 * in time begins as soon as it can: a pause is made up for, not left out. The first error ends it.
 */
export async function keepPace(pace: Pace, clock: Clock, work: (place: number) => Promise<void>): Promise<void> {
  const startedMs = clock.now()
  let next = 0
  let failed = false
  const worker = async () => {
    while (next < pace.count && !failed) {
      const place = next++
      const waitMs = startedMs + dueAtMs(place, pace.perSecond) - clock.now()
      if (waitMs > 0) await clock.sleep(waitMs)
      await work(place).catch((error: unknown) => {
        failed = true
        throw error
      })
    }
  }
  await Promise.all(Array.from({ length: Math.min(pace.atATime, pace.count) }, worker))
}
