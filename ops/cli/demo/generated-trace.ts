import { TRACE_HEADER } from './trace-csv.ts'

/**
 * A made-up month of LLM traffic as CSV text: office hours, quiet weekends, bursts, log-normal token counts. It is the
 * same text on every machine and day: seeded, in a fixed month, and without Math.cos or Math.exp, whose last bit may
 * differ between versions of V8.
 */
const SEED = 20_250_301
const MONTH_START_MS = Date.UTC(2025, 2, 1)
const DAYS = 31
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const ROWS = 20_000
const BURSTS = 48
const BURST_SHARE = 0.15
const WEEKEND_WEIGHT = 0.35
const WEIGHT_BY_HOUR = [3, 2, 2, 1, 1, 2, 4, 8, 14, 19, 21, 20, 17, 19, 22, 21, 19, 15, 11, 9, 8, 7, 6, 4]

type Random = () => number

export function generatedTraceCsv(): string {
  const random = seededRandom(SEED)
  const hours = hourStartsByWeight()
  const burstStartsMs = Array.from({ length: BURSTS }, () => pick(hours, random) + random() * (HOUR_MS - MINUTE_MS))
  const timesMs = Array.from({ length: ROWS }, () =>
    random() < BURST_SHARE
      ? pick(burstStartsMs, random) + random() * random() * MINUTE_MS
      : pick(hours, random) + random() * HOUR_MS,
  ).sort((a, b) => a - b)
  const rows = timesMs.map((timeMs) => {
    const contextTokens = logNormal(random, { median: 860, sigma: 0.85, max: 16_000 })
    const generatedTokens = logNormal(random, { median: 150, sigma: 0.8, max: 4_000 })
    return `${sevenDigitTimestamp(timeMs)},${contextTokens},${generatedTokens}`
  })
  return `${[TRACE_HEADER, ...rows].join('\n')}\n`
}

/** Every hour of the month, as often as its weight: a uniform pick from it follows the day and the week. */
function hourStartsByWeight(): number[] {
  const starts: number[] = []
  for (let hour = 0; hour < DAYS * 24; hour++) {
    const startMs = MONTH_START_MS + hour * HOUR_MS
    const weekday = new Date(startMs).getUTCDay()
    const weekend = weekday === 0 || weekday === 6
    const weight = Math.ceil((WEIGHT_BY_HOUR[hour % 24] ?? 1) * (weekend ? WEEKEND_WEIGHT : 1))
    for (let copy = 0; copy < weight; copy++) starts.push(startMs)
  }
  return starts
}

function pick(values: readonly number[], random: Random): number {
  return values[Math.floor(random() * values.length)] ?? MONTH_START_MS
}

function logNormal(random: Random, shape: { median: number; sigma: number; max: number }): number {
  const count = Math.round(shape.median * exponential(shape.sigma * nearlyNormal(random)))
  return Math.min(Math.max(count, 1), shape.max)
}

/** The sum of twelve uniform numbers has variance 1 and looks normal enough. */
function nearlyNormal(random: Random): number {
  let sum = -6
  for (let draw = 0; draw < 12; draw++) sum += random()
  return sum
}

/** e^x as (1 + x/1024)^1024: ten squarings, the same bits everywhere. */
function exponential(x: number): number {
  let power = 1 + x / 1024
  for (let squaring = 0; squaring < 10; squaring++) power *= power
  return power
}

/** `2025-03-04 09:15:46.6805900`, the form of the public traces. */
function sevenDigitTimestamp(timeMs: number): string {
  const wholeMs = Math.floor(timeMs)
  const micros = Math.floor((timeMs - wholeMs) * 1000)
  return `${new Date(wholeMs).toISOString().replace('T', ' ').slice(0, -1)}${String(micros).padStart(3, '0')}0`
}

/** Uniform numbers from [0, 1): a Weyl sequence of 32 bits, mixed by two multiplications. */
function seededRandom(seed: number): Random {
  let state = seed | 0
  return () => {
    state = (state + 0x9e3779b9) | 0
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  }
}
