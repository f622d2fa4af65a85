import { randomInt } from 'node:crypto'

export type Random = {
  /** Uniform in [0, 1). */
  next(): number
  /** A whole number in [0, limit). */
  below(limit: number): number
  pick<T>(values: readonly T[]): T
  chance(probability: number): boolean
  /** Hexadecimal digits. */
  hex(digits: number): string
}

/** The same numbers for the same seed: a counter that steps by an odd constant, mixed by shifts and products. */
export function randomOf(seed: number): Random {
  let counter = Math.imul(seed ^ 0x5bd1e995, 0x85ebca6b)
  const next = () => {
    counter = (counter + 0x6d2b79f5) | 0
    let mixed = Math.imul(counter ^ (counter >>> 15), 0x2c1b3c6d)
    mixed = Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return {
    next,
    below,
    pick: (values) => values[below(values.length)]!,
    chance: (probability) => next() < probability,
    hex: (digits) => Array.from({ length: digits }, () => below(16).toString(16)).join(''),
  }
}

/** TALLYLINE_SEED: what npm test and test:servers state, and whoever repeats a run of test:deep. */
export function seedOf({ TALLYLINE_SEED: text }: NodeJS.ProcessEnv): number | undefined {
  if (!text) return undefined
  const seed = Number(text)
  if (!Number.isSafeInteger(seed)) throw new Error(`TALLYLINE_SEED is ${text}, not a whole number`)
  return seed
}

/** TALLYLINE_SEED, or a fresh one; printed, so that a failure can be run again. */
export function drawSeed(name: string): number {
  const seed = seedOf(process.env) ?? randomInt(2 ** 31)
  process.stdout.write(`${name}: TALLYLINE_SEED=${seed}\n`)
  return seed
}
