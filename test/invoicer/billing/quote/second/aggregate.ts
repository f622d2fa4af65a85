/** Whole thousandths, and minutes since the period's start (negative before it). */
export type Reading = { minute: number; thousandths: bigint }

/** The quantity as the product writes it: rounded to 12 places, half away from zero, without trailing zeros. */
function quotient(above: bigint, below: bigint): string {
  const sign = above < 0n ? '-' : ''
  const size = above < 0n ? -above : above
  const scaled = (2n * size * 10n ** 12n + below) / (2n * below)
  const [whole, part] = [scaled / 10n ** 12n, (scaled % 10n ** 12n).toString().padStart(12, '0').replace(/0+$/, '')]
  return scaled === 0n ? '0' : `${sign}${whole}${part && '.'}${part}`
}

/** Minute by minute: the level is all that came before its end, and each minute counts alike. */
export function slowIntegral(readings: readonly Reading[], initial: bigint, minutes: number): string {
  let sum = 0n
  for (let minute = 0; minute < minutes; minute += 1) {
    sum += readings.reduce((level, one) => (one.minute <= minute ? level + one.thousandths : level), initial)
  }
  return quotient(sum, 1000n * BigInt(minutes))
}

/** The others, each as it is defined and in whole numbers. */
export function slowAggregate(aggregation: string, readings: readonly Reading[], percentile: bigint): string {
  const values = readings.map(({ thousandths }) => thousandths)
  const sum = values.reduce((total, value) => total + value, 0n)
  const notAbove = (bound: bigint) => BigInt(values.filter((value) => value <= bound).length)
  const extreme = (wins: (a: bigint, b: bigint) => boolean) =>
    values.find((value) => values.every((other) => !wins(other, value))) ?? 0n
  const answers: Record<string, () => string> = {
    count: () => String(values.length),
    unique_count: () => String(values.filter((value, place) => values.indexOf(value) === place).length),
    sum: () => quotient(sum, 1000n),
    average: () => quotient(sum, 1000n * BigInt(values.length || 1)),
    min: () =>
      quotient(
        extreme((a, b) => a < b),
        1000n,
      ),
    max: () =>
      quotient(
        extreme((a, b) => a > b),
        1000n,
      ),
    latest: () => {
      const last = Math.max(...readings.map(({ minute }) => minute))
      return quotient(readings.filter(({ minute }) => minute === last).at(-1)?.thousandths ?? 0n, 1000n)
    },
    percentile: () => {
      const reach = values.filter((value) => 100n * notAbove(value) >= percentile * BigInt(values.length))
      const least = reach.find((value) => reach.every((other) => value <= other))
      return quotient(least ?? 0n, 1000n)
    },
  }
  return answers[aggregation]!()
}
