import { lesser } from '../lesser.ts'
import { MARK_TTL_MS } from '../quota-marks.lua.ts'

/** Two looks at a counter, and what usage said between them. Drawn is what was used without what is held. */
export type Looks = {
  drawnBeforeMicro: bigint
  /** Known after everything was stored that the log held after the first look. */
  usageMicro: bigint
  /** What the usage was counted from. */
  events: bigint
  drawnAfterMicro: bigint
}

/**
 * How far a counter is from usage for certain: above 0 it is too high, below too low. Whatever the second look does not
 * contain and usage does is missing for good, because an event is drawn before it is appended. What the first look
 * contains and usage does not may still be under way: only the next passes tell. What was drawn between the looks shows
 * neither. Each event was drawn rounded up to a micro-unit, and usage adds up first: so much too high is right.
 */
export function driftOf({ drawnBeforeMicro, usageMicro, events, drawnAfterMicro }: Looks): bigint {
  if (drawnAfterMicro < usageMicro) return drawnAfterMicro - usageMicro
  const tooHigh = lesser(drawnBeforeMicro, drawnAfterMicro) - usageMicro
  return tooHigh > events ? tooHigh : 0n
}

/** A difference that pass after pass has seen. */
export type Run = {
  /** What all of them saw of it. */
  driftMicro: bigint
  passes: number
  /** A look of which some is still not in usage, and the least that had been drawn at it or since. */
  sinceMs: number
  drawnMicro: bigint
}

/** The run after another pass; undefined when that saw nothing, or the contrary. */
export function follow(run: Run | undefined, looks: Looks, nowMs: number): Run | undefined {
  const driftMicro = driftOf(looks)
  if (driftMicro === 0n) return undefined
  const drawnMicro = lesser(looks.drawnBeforeMicro, looks.drawnAfterMicro)
  if (!run || run.driftMicro > 0n !== driftMicro > 0n) return { driftMicro, passes: 1, sinceMs: nowMs, drawnMicro }
  const seen = {
    driftMicro: driftMicro > 0n ? lesser(run.driftMicro, driftMicro) : greater(run.driftMicro, driftMicro),
    passes: run.passes + 1,
  }
  // All that had been drawn then is in usage by now: whatever it is too high by is younger.
  if (looks.usageMicro >= run.drawnMicro) return { ...seen, sinceMs: nowMs, drawnMicro }
  return { ...seen, sinceMs: run.sinceMs, drawnMicro: lesser(run.drawnMicro, drawnMicro) }
}

/** What is seen once may be a draw under way, or an answer that was given too early. */
export function isCertain({ passes }: Run): boolean {
  return passes >= 2
}

/**
 * An event may be sent again this long after its draw, and then draws nothing. Its draw must not be taken off the counter
 * before. Marks in the rotating sets stand for 31 minutes. One in the set of a time stands until the last addition to that
 * set has ended: an event that is stamped 15 minutes ahead has its mark in a set that is added to for 30 more minutes, or
 * nearly 31 as sets are up to 33 s wide, so it stands for 46. Two minutes more are for what was drawn when the run began in
 * place of what was given back then.
 */
export const TOO_HIGH_STANDS_MS = 3 * MARK_TTL_MS + 4 * 60_000

/**
 * What to add to a counter. What is missing is added once it is certain: the limit lets through too much meanwhile.
 * What is too much is taken off only when it has stood for `standsMs`: the limit refuses too early meanwhile, which is
 * safe. Then no more than what had been drawn when the run began, and still is not in usage.
 */
export function correctionOf(run: Run, usageMicro: bigint, nowMs: number, standsMs: number): bigint {
  if (!isCertain(run)) return 0n
  if (run.driftMicro < 0n) return -run.driftMicro
  if (nowMs - run.sinceMs < standsMs) return 0n
  const neverStored = run.drawnMicro - usageMicro
  return neverStored > 0n ? -lesser(run.driftMicro, neverStored) : 0n
}

function greater(one: bigint, other: bigint): bigint {
  return one > other ? one : other
}
