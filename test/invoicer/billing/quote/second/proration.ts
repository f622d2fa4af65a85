const MINUTE_MS = 60_000
const HALF_HOUR_MS = 30 * MINUTE_MS

export type Change = {
  unit: 'second' | 'day'
  zone: string
  startMs: number
  endMs: number
  atMs: number
  /** Of the fee: so many minor units and thousandths of them. */
  thousandths: bigint
}

/** round(fee × (end − t) ÷ length), in whole numbers; days are the dates that clocks have shown, asked again and again. */
export function secondUnusedMinor({ unit, zone, startMs, endMs, atMs, thousandths }: Change): bigint {
  const floor = (ms: number) => Math.floor(ms / MINUTE_MS) * MINUTE_MS
  const [from, at, to] = [floor(startMs), floor(atMs), floor(endMs)]
  const length = (a: number, b: number) => (unit === 'day' ? datesShown(a, b, zone) : (b - a) / 1000)
  const [above, below] = [thousandths * BigInt(length(at, to)), 1000n * BigInt(length(from, to))]
  return (2n * above + below) / (2n * below)
}

export function datesShown(fromMs: number, toMs: number, zone: string): number {
  const clock = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short' })
  const dates = new Set([clock.format(fromMs), clock.format(toMs)])
  for (let ms = fromMs; ms < toMs; ms += HALF_HOUR_MS) dates.add(clock.format(ms))
  return dates.size - 1
}
