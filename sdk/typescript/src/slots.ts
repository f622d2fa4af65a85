/** At most so many at once; the others wait in line. */
export function createSlots(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  let taken = 0
  const line: (() => void)[] = []
  return async (work) => {
    // Who is called from the line takes over the slot of the one before.
    if (taken >= most) await new Promise<void>((called) => line.push(called))
    else taken++
    try {
      return await work()
    } finally {
      const next = line.shift()
      if (next) next()
      else taken--
    }
  }
}
