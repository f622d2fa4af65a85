/** Time as the client sees it; a test brings its own. */
export type Clock = {
  /** Milliseconds since 1970. */
  wallMs: () => number
  /** Milliseconds since some moment; never runs back. */
  monotonicMs: () => number
  /** Runs once after the delay, or 24 days if that is less; keeps the process alive only if it is told to. Returns what calls it off. */
  after: (delayMs: number, run: () => void, holdsProcess?: boolean) => () => void
}

/** What setTimeout takes: longer waits, for ever too, would become one of a millisecond. */
const LONGEST_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  wallMs: Date.now,
  monotonicMs: () => performance.now(),
  after: (delayMs, run, holdsProcess = false) => {
    const timer: unknown = setTimeout(run, Math.min(delayMs, LONGEST_MS))
    // On edge runtimes a timer is a number, and nothing outlives the request anyway.
    if (!holdsProcess && typeof timer === 'object' && timer !== null && 'unref' in timer) {
      ;(timer as { unref: () => void }).unref()
    }
    return () => clearTimeout(timer as number)
  },
}

/** True when the promise settled in time. While it waits the process goes on. */
export function within(clock: Clock, timeoutMs: number, promise: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve) => {
    const cancel = clock.after(timeoutMs, () => resolve(false), true)
    const settled = () => {
      cancel()
      resolve(true)
    }
    promise.then(settled, settled)
  })
}
