import type { Clock } from '../../../sdk/typescript/src/clock.ts'

export type VirtualClock = Clock & {
  /** Lets time pass: timers run in order, and what they started gets its turn. */
  pass: (ms: number) => Promise<void>
  /** Changes the clock on the wall alone. */
  setBack: (ms: number) => void
}

export const START_MS = Date.UTC(2026, 10, 21, 12)

export function virtualClock(): VirtualClock {
  let nowMs = 0
  let wallOffsetMs = START_MS
  let timers: { atMs: number; run: () => void }[] = []
  const pass = async (ms: number) => {
    const endMs = nowMs + ms
    await settle()
    for (;;) {
      const next = timers.filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0]
      if (!next) break
      timers = timers.filter((timer) => timer !== next)
      nowMs = Math.max(nowMs, next.atMs)
      next.run()
      await settle()
    }
    nowMs = endMs
  }
  return {
    wallMs: () => wallOffsetMs + nowMs,
    monotonicMs: () => nowMs,
    after: (delayMs, run) => {
      const timer = { atMs: nowMs + delayMs, run }
      timers.push(timer)
      return () => {
        timers = timers.filter((each) => each !== timer)
      }
    },
    pass,
    setBack: (ms) => {
      wallOffsetMs -= ms
    },
  }
}

/** Whatever can happen without time passing has happened. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve))
}
