export type Wanted = { partition: number; offset: number }
export type FetchPlan = {
  /** What to ask of each node now. */
  asks: Map<number, Wanted[]>
  /** Partitions that nobody leads: they wait, the others go on. */
  leaderless: number[]
}

/**
 * Each node is asked for what it leads, unless its last answer is still awaited: a slow or dead one holds up its own
 * partitions only. The broker fills its answer in the order of the question: each partition comes first in its turn.
 */
export function planFetches(
  positions: ReadonlyMap<number, number>,
  leaders: ReadonlyMap<number, number>,
  awaited: { has(node: number): boolean },
  turn: number,
): FetchPlan {
  const asks = new Map<number, Wanted[]>()
  const leaderless: number[] = []
  const all = [...positions]
  const first = turn % Math.max(all.length, 1)
  for (const [partition, offset] of [...all.slice(first), ...all.slice(0, first)]) {
    const node = leaders.get(partition)
    if (node === undefined) leaderless.push(partition)
    else if (!awaited.has(node)) asks.set(node, [...(asks.get(node) ?? []), { partition, offset }])
  }
  return { asks, leaderless }
}

/** Does one piece of work for a node at a time, and different nodes' at once. */
export function createNodeWork() {
  const underWay = new Map<number, Promise<void>>()
  return {
    has: (node: number) => underWay.has(node),
    start: (node: number, work: () => Promise<void>): void => {
      const done = work().finally(() => underWay.delete(node))
      underWay.set(node, done)
    },
    /** Resolves when any of it has ended. */
    any: (): Promise<void> => Promise.race(underWay.values()),
    all: async (): Promise<void> => {
      await Promise.all(underWay.values())
    },
  }
}
