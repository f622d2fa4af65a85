import type { Repetition } from './measure.ts'

/** How much work a round is. */
export type Sizes = Repetition & {
  /** Requests of 100 events, and of one. */
  edgeBatches: number
  edgeSingles: number
  /** Questions about a quota a round, and at an even rate for so long. */
  checks: number
  checksPerSecond: number
  checkSeconds: number
  /** Requests of 100 events with a limit, and as many without. */
  quotaBatches: number
  logEvents: number
  /** Inserts a round, each of as many events as the pump reads at once. */
  inserts: number
  eventsPerInsert: number
  pumpEvents: number
  subscriptions: number
  /** Of one billing run each. */
  runSubscriptions: readonly number[]
  /** Requests of each kind, one after the other. */
  onDemand: number
  /** Load that comes as a clock says: so many events a second for so long. */
  pacedPerSecond: number
  pacedSeconds: number
  /** Requests of one event. */
  singlesPerSecond: number
  singlesSeconds: number
  opaquePerSecond: number
  opaqueSeconds: number
  /** After the load, for what is rebuilt later: a slice closes after 10 s and settles for 15, a shard waits for 60. */
  settleSeconds: number
  /** Events of the last 24 h that are there before late ones come: one run each. */
  lateHistories: readonly number[]
  /** Both sides of a paced figure in one world: only to be quick. */
  oneWorld: boolean
  awaySeconds: number
  /** Events at first; then twice and four times as many. */
  growthEvents: number
  probes: number
  eventsPerProbe: number
  usageEvents: number
  usageQueries: number
}

/** A round of each side takes about a second of CPU; what needs time or history is shortened. */
const DEFAULT: Sizes = {
  warmUps: 2,
  rounds: 5,
  edgeBatches: 1_000,
  edgeSingles: 5_000,
  checks: 20_000,
  checksPerSecond: 5_000,
  checkSeconds: 30,
  quotaBatches: 1_500,
  logEvents: 100_000,
  inserts: 4,
  eventsPerInsert: 32_000,
  pumpEvents: 200_000,
  subscriptions: 5_000,
  runSubscriptions: [10_000, 100_000],
  onDemand: 200,
  pacedPerSecond: 10_000,
  pacedSeconds: 30,
  singlesPerSecond: 4_000,
  singlesSeconds: 30,
  opaquePerSecond: 5_000,
  opaqueSeconds: 60,
  settleSeconds: 45,
  lateHistories: [0, 1_000_000],
  oneWorld: false,
  awaySeconds: 20,
  growthEvents: 250_000,
  probes: 3,
  eventsPerProbe: 100_000,
  usageEvents: 1_000_000,
  usageQueries: 50,
}

/** As the targets are written: what needs time or history has all of it. */
const FULL: Sizes = {
  ...DEFAULT,
  runSubscriptions: [100_000, 1_000_000],
  pacedPerSecond: 50_000,
  pacedSeconds: 300,
  opaqueSeconds: 600,
  settleSeconds: 90,
  lateHistories: [0, 10_000_000],
  awaySeconds: 60,
  growthEvents: 10_000_000,
  probes: 5,
  eventsPerProbe: 200_000,
  usageEvents: 100_000_000,
  usageQueries: 200,
}

/** Shows that every figure can be taken, and nothing else. */
const SMOKE: Sizes = {
  warmUps: 0,
  rounds: 1,
  edgeBatches: 20,
  edgeSingles: 50,
  checks: 100,
  checksPerSecond: 200,
  checkSeconds: 1,
  quotaBatches: 10,
  logEvents: 2_000,
  inserts: 1,
  eventsPerInsert: 1_000,
  pumpEvents: 2_000,
  subscriptions: 20,
  runSubscriptions: [20, 40],
  onDemand: 2,
  pacedPerSecond: 1_000,
  pacedSeconds: 2,
  singlesPerSecond: 200,
  singlesSeconds: 1,
  opaquePerSecond: 1_000,
  opaqueSeconds: 2,
  settleSeconds: 0,
  lateHistories: [0],
  oneWorld: true,
  awaySeconds: 1,
  growthEvents: 2_000,
  probes: 1,
  eventsPerProbe: 1_000,
  usageEvents: 2_000,
  usageQueries: 3,
}

export const SIZES = { smoke: SMOKE, default: DEFAULT, full: FULL }
export type SizeName = keyof typeof SIZES
