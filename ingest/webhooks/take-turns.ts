/** Runs `work` when its turn has come. Rejects, without running it, when the signal aborts before. */
export type Turns = <T>(whose: string, signal: AbortSignal, work: () => Promise<T>) => Promise<T>

/** So many at once, of one owner so many of them. Others wait in their order, but nobody behind one who has enough. */
export function takeTurns({ most, mostOfOne }: { most: number; mostOfOne: number }): Turns {
  let running = 0
  const runningOf = new Map<string, number>()
  const waiting: { whose: string; go: () => void }[] = []

  const begin = (whose: string): boolean => {
    const ofOne = runningOf.get(whose) ?? 0
    if (running >= most || ofOne >= mostOfOne) return false
    running++
    runningOf.set(whose, ofOne + 1)
    return true
  }
  const end = (whose: string): void => {
    running--
    const ofOne = (runningOf.get(whose) ?? 0) - 1
    if (ofOne > 0) runningOf.set(whose, ofOne)
    else runningOf.delete(whose)
    const next = waiting.findIndex((one) => begin(one.whose))
    if (next >= 0) waiting.splice(next, 1)[0]?.go()
  }
  const wait = (whose: string, signal: AbortSignal): Promise<void> =>
    new Promise((go, giveUp) => {
      const one = { whose, go }
      waiting.push(one)
      signal.addEventListener('abort', () => {
        const place = waiting.indexOf(one)
        if (place >= 0) waiting.splice(place, 1)
        giveUp(signal.reason)
      })
    })
  return async (whose, signal, work) => {
    signal.throwIfAborted()
    if (!begin(whose)) await wait(whose, signal)
    try {
      return await work()
    } finally {
      end(whose)
    }
  }
}
