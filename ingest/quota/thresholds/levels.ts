import { formatMicro, type Threshold } from '../limit.ts'

/** A level of a limit: as it is written, and the use from which it is reached. */
export type Level = { text: string; micro: bigint }

/** Percent have at most so many digits after the point. */
const PERCENT_PARTS = 1_000_000

/** The levels of a limit, each once, the lowest first. */
export function levelsOf(limitMicro: bigint, thresholds: readonly Threshold[]): Level[] {
  const levels = new Map(thresholds.map((one) => levelOf(limitMicro, one)).map((level) => [level.text, level]))
  return [...levels.values()].sort((a, b) => (a.micro < b.micro ? -1 : a.micro > b.micro ? 1 : 0))
}

/** Those that a use has reached, the lowest first. Where nothing is used nothing is reached, also of a limit of 0. */
export function levelsReached(usedMicro: bigint, limitMicro: bigint, thresholds: readonly Threshold[]): Level[] {
  return levelsOf(limitMicro, thresholds).filter(({ micro }) => usedMicro > 0n && usedMicro >= micro)
}

function levelOf(limitMicro: bigint, threshold: Threshold): Level {
  if ('micro' in threshold) return { text: formatMicro(threshold.micro), micro: threshold.micro }
  const parts = limitMicro * BigInt(Math.round(threshold.percent * PERCENT_PARTS))
  return { text: `${threshold.percent}%`, micro: dividedUp(parts, BigInt(100 * PERCENT_PARTS)) }
}

/** Rounded up: a level is not told before it is reached. */
function dividedUp(value: bigint, by: bigint): bigint {
  return (value + by - 1n) / by
}
