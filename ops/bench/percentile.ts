/** Nearest rank: the smallest value that at least this share of all does not exceed. NaN of nothing. */
export function percentileOf(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const rank = Math.max(Math.ceil(share * sorted.length), 1)
  return sorted[rank - 1] ?? Number.NaN
}

export type Spread = { count: number; p50: number; p99: number; max: number }

export function spreadOf(values: readonly number[]): Spread {
  const [p50, p99, max] = [percentileOf(values, 0.5), percentileOf(values, 0.99), percentileOf(values, 1)]
  return { count: values.length, p50, p99, max }
}
