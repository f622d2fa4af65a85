import type { Repetition } from './measure.ts'

/** How much work a round is. */
export type Sizes = Repetition & {
  /** Requests of 100 events, and of one. */
  edgeBatches: number
  edgeSingles: number
  logEvents: number
  /** Inserts a round, each of as many events as the pump reads at once. */
  inserts: number
  eventsPerInsert: number
  pumpEvents: number
  subscriptions: number
}

/** A round of each side takes about a second of CPU. */
export const FULL: Sizes = {
  warmUps: 2,
  rounds: 5,
  edgeBatches: 1_000,
  edgeSingles: 5_000,
  logEvents: 100_000,
  inserts: 4,
  eventsPerInsert: 32_000,
  pumpEvents: 200_000,
  subscriptions: 5_000,
}

/** Shows that every figure can be taken, and nothing else. */
export const SMOKE: Sizes = {
  warmUps: 0,
  rounds: 1,
  edgeBatches: 20,
  edgeSingles: 50,
  logEvents: 2_000,
  inserts: 1,
  eventsPerInsert: 1_000,
  pumpEvents: 2_000,
  subscriptions: 20,
}
