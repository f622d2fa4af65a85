export type Hooks<T> = {
  stopping: () => boolean
  /** Told of each that fails alone. */
  failed: (one: T, error: unknown) => unknown
  /** 0 to 1. */
  random?: () => number
}

/** Of so many none goes well, drawn by lot if there are more: then it is everybody's trouble, as of a store that is away. */
const MOST_DRAWN = 8

/**
 * Does work for all of a portion at once and, where that fails, for each half of it, down to those that fail alone: they
 * hold up no other. What goes well may be done twice. Rejects, with what failed first, when nothing goes well.
 */
export async function inHalves<T>(
  portion: readonly T[],
  work: (part: readonly T[]) => Promise<void>,
  { stopping, failed, random = Math.random }: Hooks<T>,
): Promise<void> {
  const tried = async (part: readonly T[]): Promise<{ error: unknown } | undefined> => {
    try {
      await work(part)
      return undefined
    } catch (error) {
      return { error }
    }
  }
  const split = async (part: readonly T[]): Promise<void> => {
    const middle = Math.ceil(part.length / 2)
    for (const half of [part.slice(0, middle), part.slice(middle)]) {
      if (stopping()) return
      const failure = await tried(half)
      const [first] = half
      if (failure && half.length > 1) await split(half)
      else if (failure && first !== undefined) failed(first, failure.error)
    }
  }
  const [first] = portion
  if (first === undefined || stopping()) return
  const failure = await tried(portion)
  if (failure === undefined) return
  if (portion.length === 1) {
    failed(first, failure.error)
    return
  }
  for (let drawn = 0; drawn < Math.min(MOST_DRAWN, portion.length) && !stopping(); drawn++) {
    const place = portion.length > MOST_DRAWN ? Math.floor(random() * portion.length) : drawn
    if ((await tried(portion.slice(place, place + 1))) === undefined) return split(portion)
  }
  throw failure.error
}
